//! HTTP/1.1

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};

use super::{server::Server, *};
use crate::refusal::Reason;

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    let mut all = Vec::new();
    for number in 1..=3 {
        let answer = bed.send(get("/")).await.unwrap();
        assert_eq!(answer.at.get(), server.at);
        // None is free before its answer was read.
        all.push(answer);
        assert_eq!(
            (server.connections(), bed.connections()),
            (number, (number, 0))
        );
    }
    let last = all.remove(1);
    for answer in all {
        text(answer).await;
    }
    bed.until((3, 2)).await;
    assert_eq!(text(last).await, "2");
    bed.until((3, 3)).await;
    for _ in 0..20 {
        assert_eq!(bed.get("/").await, "2");
        bed.until((3, 3)).await;
    }
    assert_eq!(server.connections(), 3);
    let first = server.seen.requests.lock()[0].clone();
    assert_eq!(first, "GET / HTTP/1.1\r\nhost: app.example.org\r\n\r\n");
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_gets_a_connection_for_each_request() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    for number in 1..=5 {
        assert_eq!(bed.get("/close").await, number.to_string());
        bed.until((0, 0)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_that_its_server_closes_is_noticed_at_once() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    bed.get("/").await;
    bed.until((1, 1)).await;
    server.seen.close.notify_waiters();
    bed.until((0, 0)).await;
    assert_eq!(bed.get("/").await, "2");
}

#[tokio::test]
async fn a_connection_is_not_kept_for_longer_than_its_server_says() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    assert_eq!(bed.get("/short").await, "1");
    bed.until((1, 1)).await;
    assert_eq!(bed.get("/").await, "2", "a second less than one is none");
}

#[tokio::test]
async fn a_request_of_which_something_was_sent_is_not_repeated() {
    let (one, other) = (Server::one().await, Server::one().await);
    let bed = Bed::new(&format!(
        "addresses = [\"{}\", \"{}\"]\nretries = 5",
        one.at, other.at
    ));
    let failed = bed.send(post("/break", "pay")).await.unwrap_err();
    assert!(failed.sent);
    assert_eq!(
        failed.refusal.reason,
        Reason::UpstreamClosed,
        "{}",
        failed.refusal
    );
    let failed = bed.send(get("/break")).await.unwrap_err();
    assert!(failed.sent, "whatever its method");
    assert_eq!(one.requests() + other.requests(), 2);
    let up = bed
        .upstream
        .endpoints()
        .iter()
        .all(|endpoint| endpoint.is_up());
    assert!(up, "who takes connections is up");
}

#[tokio::test]
async fn a_request_goes_to_another_endpoint_where_connecting_is_refused() {
    let server = Server::one().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = gone.local_addr().unwrap();
    drop(gone);
    let bed = Bed::new(&format!(
        "addresses = [\"{closed}\", \"{}\"]\nbalance = \"round-robin\"",
        server.at
    ));
    for _ in 0..10 {
        let answer = bed.send(post("/", "once")).await.unwrap();
        assert_eq!(answer.at.get(), server.at);
        text(answer).await;
    }
    assert_eq!(server.requests(), 10);
    let down = bed.upstream.endpoints()[0].cause().unwrap();
    assert!(down.contains("refused"), "{down}");
    let bed = Bed::new(&format!(
        "addresses = [\"{closed}\"]\nhealth = {{ down = 1 }}"
    ));
    for reason in [Reason::ConnectRefused, Reason::UpstreamDown] {
        let failed = bed.send(get("/")).await.unwrap_err();
        assert_eq!((failed.refusal.reason, failed.sent), (reason, false));
    }
}

#[tokio::test]
async fn what_answers_with_something_else_is_said_to_be_no_server_of_http() {
    let server = Server::one().await;
    let failed = Bed::to(server.at).send(get("/rubbish")).await.unwrap_err();
    assert_eq!(
        failed.refusal.reason,
        Reason::UpstreamProtocol,
        "{}",
        failed.refusal
    );
}

#[tokio::test]
async fn an_answer_that_is_dropped_in_the_middle_closes_its_connection() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    let mut answer = bed.send(get("/endless")).await.unwrap();
    answer.response.frame().await.unwrap().unwrap();
    assert_eq!(bed.upstream.endpoints()[0].under_way(), 1);
    drop(answer);
    until(|| server.given_up() == 1, || "it goes on".into()).await;
    bed.until((0, 0)).await;
    assert_eq!(bed.upstream.endpoints()[0].under_way(), 0);
}

#[tokio::test]
async fn a_request_that_is_dropped_before_its_answer_closes_its_connection() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    tokio::select! {
        _ = bed.send(get("/hold")) => panic!("it is held"),
        () = until(|| server.requests() == 1, || "it does not come".into()) => {}
    }
    bed.until((0, 0)).await;
    server.held.add_permits(1);
    until(|| server.given_up() == 1, || "it goes on".into()).await;
}

#[tokio::test]
async fn a_connection_whose_request_goes_on_after_the_answer_is_not_kept() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    let mut request = get("/");
    *request.body_mut() = Endless::default().boxed_unsync();
    assert_eq!(text(bed.send(request).await.unwrap()).await, "1");
    bed.until((0, 0)).await;
    until(|| server.given_up() == 1, || "it goes on".into()).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_sent_whatever_the_method() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    for method in ["GET", "POST"] {
        let mut request = get("/upload");
        *request.method_mut() = method.parse().unwrap();
        *request.body_mut() = Endless::default().boxed_unsync();
        let answer = bed.send(request).await.unwrap();
        let seen = server.seen.requests.lock().pop().unwrap();
        assert!(seen.contains("transfer-encoding: chunked"), "{seen}");
        text(answer).await;
    }
    bed.get("/").await;
    let seen = server.seen.requests.lock().pop().unwrap();
    assert!(!seen.contains("transfer-encoding"), "{seen}");
}

#[tokio::test]
async fn a_connection_is_kept_where_a_body_was_sent_at_its_length_and_has_not_said_its_end() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    let mut request = get("/upload");
    *request.method_mut() = hyper::Method::POST;
    let length = "4".parse().unwrap();
    request.headers_mut().insert("content-length", length);
    let some = Endless {
        length: Some(4),
        given: false,
    };
    *request.body_mut() = some.boxed_unsync();
    assert_eq!(text(bed.send(request).await.unwrap()).await, "1");
    bed.until((1, 1)).await;
    assert_eq!(bed.get("/").await, "1");
}

#[tokio::test]
async fn a_connection_that_was_upgraded_is_both_ends_own() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    bed.get("/").await;
    bed.until((1, 1)).await;
    let mut request = get("/switch");
    request
        .headers_mut()
        .insert("upgrade", "echo".parse().unwrap());
    request
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    let mut answered = bed.send(request).await.unwrap();
    assert_eq!(answered.response.status(), 101);
    let upgraded = hyper::upgrade::on(&mut answered.response).await.unwrap();
    drop(answered.response);
    let mut io = hyper_util::rt::TokioIo::new(upgraded);
    for said in [b"ping", b"pong"] {
        io.write_all(said).await.unwrap();
        let mut heard = [0; 4];
        io.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, said);
    }
    assert_eq!(bed.upstream.endpoints()[0].under_way(), 1);
    drop(answered.under_way);
    assert_eq!(bed.upstream.endpoints()[0].under_way(), 0);
    bed.until((0, 0)).await;
    assert_eq!(bed.get("/").await, "2");
}

#[tokio::test]
async fn a_connection_that_announces_a_client_is_for_one_request() {
    let server = Server::one().await;
    let bed = Bed::new(&format!(
        "addresses = [\"{}\"]\nsend_proxy = \"v1\"",
        server.at
    ));
    for number in 1..=3 {
        // The number of the connection, whatever its first line is.
        let answer = bed.send(get("/")).await.unwrap();
        assert_eq!(text(answer).await, number.to_string());
        bed.until((0, 0)).await;
    }
    for request in server.seen.requests.lock().iter() {
        let first = "PROXY TCP4 192.0.2.7 192.0.2.1 4000 80\r\nGET / ";
        assert!(request.starts_with(first), "{request}");
    }
}

#[tokio::test]
async fn so_many_idle_connections_are_kept_and_no_more() {
    let server = Server::one().await;
    let bed = Arc::new(Bed::to(server.at));
    let most = crate::upstream::http::shelf::MOST_IDLE;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..most + 10 {
        let bed = Arc::clone(&bed);
        all.spawn(async move { bed.get("/hold").await });
    }
    until(
        || server.requests() == most + 10,
        || "they do not come".into(),
    )
    .await;
    server.held.add_permits(Semaphore::MAX_PERMITS / 2);
    all.join_all().await;
    bed.until((most, most)).await;
    bed.upstream.close_idle();
    bed.until((0, 0)).await;
}
