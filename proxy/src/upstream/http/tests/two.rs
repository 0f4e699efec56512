//! HTTP/2

use tokio::task::JoinSet;

use super::{server::Server, *};
use crate::refusal::Reason;

fn bed(server: &Server) -> Bed {
    Bed::new(&format!("addresses = [\"{}\"]\nhttp = \"2\"", server.at))
}

#[tokio::test]
async fn requests_share_a_connection_that_is_made_once() {
    let server = Server::two(100).await;
    let bed = Arc::new(bed(&server));
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let bed = Arc::clone(&bed);
        all.spawn(async move { bed.get("/hold").await });
    }
    until(|| server.requests() == 50, || "they do not come".into()).await;
    server.held.add_permits(50);
    assert!(all.join_all().await.iter().all(|number| number == "1"));
    assert_eq!((server.connections(), bed.connections()), (1, (1, 1)));
    let first = server.seen.requests.lock()[0].clone();
    assert!(
        first.contains("uri: http://app.example.org/hold"),
        "{first}"
    );
    assert!(!first.contains("\"host\""), "{first}");
    bed.upstream.close_idle();
    bed.until((0, 0)).await;
}

#[tokio::test]
async fn requests_above_the_servers_limit_of_streams_go_over_another_connection() {
    let server = Server::two(1).await;
    let bed = Arc::new(bed(&server));
    let mut all = JoinSet::new();
    for number in 1..=3 {
        let held = Arc::clone(&bed);
        all.spawn(async move { held.get("/hold").await });
        until(
            || server.requests() == number,
            || "it waits for another one".into(),
        )
        .await;
    }
    assert_eq!(server.connections(), 3);
    server.held.add_permits(3);
    let mut numbers = all.join_all().await;
    numbers.sort();
    assert_eq!(numbers, ["1", "2", "3"]);
    assert_eq!(bed.get("/").await, "1");
    assert_eq!((server.connections(), bed.connections()), (3, (3, 3)));
}

#[tokio::test]
async fn above_so_many_streams_another_connection_is_made() {
    let server = Server::two(1000).await;
    let bed = Arc::new(bed(&server));
    let mut all = JoinSet::new();
    for _ in 0..65 {
        let bed = Arc::clone(&bed);
        all.spawn(async move { bed.get("/hold").await });
    }
    until(|| server.requests() == 65, || "they do not come".into()).await;
    assert_eq!(server.connections(), 2);
    server.held.add_permits(65);
    all.join_all().await;
}

#[tokio::test]
async fn after_goaway_a_connection_gets_no_request_and_ends_those_that_it_has() {
    let server = Server::two(100).await;
    let bed = Arc::new(bed(&server));
    let held = Arc::clone(&bed);
    let held = tokio::spawn(async move { held.get("/hold").await });
    until(|| server.requests() == 1, || "it does not come".into()).await;
    server.seen.goaway.notify_one();
    // Also while the GOAWAY is on its way none is lost.
    timeout(SOON, async { while bed.get("/").await != "2" {} })
        .await
        .unwrap();
    assert_eq!(bed.get("/").await, "2");
    server.held.add_permits(1);
    assert_eq!(held.await.unwrap(), "1");
    bed.until((1, 1)).await;
}

#[tokio::test]
async fn a_request_that_the_server_refused_unseen_is_sent_again() {
    let server = Server::two(100).await;
    let bed = bed(&server);
    let answer = bed.send(post("/refuse", "body")).await.unwrap();
    assert_eq!(text(answer).await, "1body");
    assert_eq!(server.requests(), 2);
    let upload = "body".repeat(50_000).leak();
    let failed = bed.send(post("/refuse-upload", upload)).await.unwrap_err();
    assert!(failed.sent, "so much is not kept");
    assert_eq!(bed.get("/").await, "1");
}

#[tokio::test]
async fn an_answer_that_is_dropped_in_the_middle_resets_its_stream_alone() {
    let server = Server::two(100).await;
    let bed = bed(&server);
    let mut answer = bed.send(get("/endless")).await.unwrap();
    answer.response.frame().await.unwrap().unwrap();
    drop(answer);
    until(|| server.given_up() == 1, || "it goes on".into()).await;
    assert_eq!(bed.get("/").await, "1");
    assert_eq!(bed.upstream.endpoints()[0].under_way(), 0);
}

#[tokio::test]
async fn an_answer_whose_request_goes_on_is_given_up_with_it() {
    let server = Server::two(100).await;
    let bed = Arc::new(bed(&server));
    let mut request = get("/");
    *request.body_mut() = Endless::default().boxed_unsync();
    let sent = Arc::clone(&bed);
    let sent = tokio::spawn(async move { sent.send(request).await });
    until(|| server.requests() == 1, || "it does not come".into()).await;
    sent.abort();
    // The server reads the body to its end, which a reset is, and answers nobody.
    assert_eq!(bed.get("/").await, "1");
    let endpoint = &bed.upstream.endpoints()[0];
    until(|| endpoint.under_way() == 0, || "it goes on".into()).await;
}

#[tokio::test]
async fn a_server_of_http_1_is_said_not_to_speak_http_2() {
    let server = Server::one().await;
    server.seen.close.notify_one();
    let failed = bed(&server).send(get("/")).await.unwrap_err();
    let said = failed.refusal.to_string();
    assert_eq!(failed.refusal.reason, Reason::UpstreamProtocol, "{said}");
    assert!(said.contains("http = \"1.1\""), "{said}");
}
