//! What is no proof against an endpoint, and is checked.

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{
    ends::{tls, upstream},
    server::Server,
    *,
};
use crate::{refusal::Reason, upstream::watch};

/// What a route's `timeout` may be, or a client's patience: far less than `connect_timeout`.
const BRIEF: Duration = Duration::from_millis(300);

/// A server that answers no SYN, because it takes nothing and its queue is full.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(BRIEF, TcpStream::connect(at)).await {
        queue.push(connected.unwrap());
    }
    (listener, queue)
}

fn health(listener: &TcpListener, check: &str) -> Bed {
    let at = listener.local_addr().unwrap();
    Bed::new(&format!(
        "addresses = [\"{at}\"]\nhealth = {{ timeout = \"{check}\" }}"
    ))
}

#[tokio::test]
async fn an_endpoint_that_answers_no_connect_is_down_although_all_requests_give_up_before() {
    let (listener, _queue) = full().await;
    let bed = health(&listener, "100ms");
    let _watched = watch(vec![Arc::clone(&bed.upstream)], &bed.data).await;
    let given_up = timeout(BRIEF, bed.send(get("/"))).await;
    assert!(given_up.is_err(), "it answers: {given_up:?}");
    let endpoint = &bed.upstream.endpoints()[0];
    until(|| !endpoint.is_up(), || "it stays up".into()).await;
    let failed = bed.send(get("/")).await.unwrap_err();
    assert_eq!(failed.refusal.reason, Reason::UpstreamDown);
}

#[tokio::test]
async fn a_request_that_is_given_up_takes_no_endpoint_down_that_answers_a_check() {
    let (listener, queue) = full().await;
    // The kernel asks again after a second.
    let bed = health(&listener, "15s");
    let _watched = watch(vec![Arc::clone(&bed.upstream)], &bed.data).await;
    let given_up = timeout(BRIEF, bed.send(get("/"))).await;
    assert!(given_up.is_err(), "it answers: {given_up:?}");
    let endpoint = &bed.upstream.endpoints()[0];
    assert!(endpoint.is_up(), "{:?}", endpoint.cause());
    for _ in 0..queue.len() {
        listener.accept().await.unwrap();
    }
    let check = timeout(SOON, listener.accept()).await;
    check.expect("nobody checks it").unwrap();
    until(|| endpoint.under_way() == 0, || "it goes on".into()).await;
    assert!(endpoint.is_up(), "{:?}", endpoint.cause());
}

#[tokio::test]
async fn a_client_that_asks_for_an_upgrade_takes_no_server_down_that_has_none() {
    let folder = TempDir::new().unwrap();
    let server = tls(&folder, 3600, &["h2"]).await;
    let bed = Bed::in_folder(&upstream(server.at), folder.path());
    let _watched = watch(vec![Arc::clone(&bed.upstream)], &bed.data).await;
    assert_eq!(bed.get("/").await, "1");
    let upgrade = || {
        let mut request = get("/switch");
        let headers = request.headers_mut();
        headers.insert("upgrade", "echo".parse().unwrap());
        request
    };
    let failed = bed.send(upgrade()).await.unwrap_err();
    let refusal = failed.refusal;
    assert_eq!(refusal.reason, Reason::UpstreamProtocol, "{refusal}");
    let endpoint = &bed.upstream.endpoints()[0];
    assert!(endpoint.is_up(), "{:?}", endpoint.cause());
    // One for the request, one for the upgrade, and the check.
    until(|| server.connections() == 3, || "no check".into()).await;
    until(|| endpoint.under_way() == 0, || "it goes on".into()).await;
    assert!(endpoint.is_up(), "{:?}", endpoint.cause());
    assert_eq!(bed.get("/").await, "1");
}

#[tokio::test]
async fn an_upgrade_is_refused_at_once_where_http_2_alone_is_spoken() {
    let server = Server::two(100).await;
    let bed = Bed::new(&format!("addresses = [\"{}\"]\nhttp = \"2\"", server.at));
    let mut request = get("/");
    let headers = request.headers_mut();
    headers.insert("upgrade", "echo".parse().unwrap());
    let failed = bed.send(request).await.unwrap_err();
    assert_eq!(failed.refusal.reason, Reason::UpstreamProtocol);
    assert_eq!((failed.sent, server.connections()), (false, 0));
}
