//! Health checks by HTTP, in the version of the requests.

use super::{server::Server, *};
use crate::upstream::watch;

const CHECK: &str = "health = { check = \"http\", path = \"/healthz\", interval = \"20ms\"";

/// Checks `server`, by this name or address, until it was asked twice, and gives what it was asked.
async fn asked(server: &Server, host: &str, more: &str, health: &str) -> String {
    let address = format!("addresses = [\"{host}:{}\"]", server.at.port());
    let bed = Bed::new(&format!("{address}\n{more}\n{CHECK}{health} }}"));
    let _watched = watch(vec![Arc::clone(&bed.upstream)], &bed.data).await;
    until(|| server.requests() > 1, || "nobody asks".into()).await;
    let endpoints = bed.upstream.endpoints();
    let here = endpoints
        .iter()
        .find(|endpoint| endpoint.at.get() == server.at);
    assert_eq!(here.unwrap().cause(), None);
    server.seen.requests.lock()[0].clone()
}

#[tokio::test]
async fn a_server_of_http_2_alone_is_up_by_checks_in_http_2() {
    let server = Server::two(100).await;
    let request = asked(&server, "127.0.0.1", "http = \"2\"", "").await;
    let uri = format!("uri: http://{}/healthz", server.at);
    assert!(request.contains(&uri), "{request}");
}

#[tokio::test]
async fn a_check_asks_for_the_host_that_is_said_else_for_the_name_else_for_the_address() {
    let host_of = |request: String| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: "));
        host.unwrap().trim().to_owned()
    };
    let server = Server::one().await;
    let request = asked(&server, "127.0.0.1", "", "").await;
    assert!(request.starts_with("GET /healthz HTTP/1.1"), "{request}");
    assert_eq!(host_of(request), server.at.to_string());
    let server = Server::one().await;
    let request = asked(&server, "127.0.0.1", "", ", host = \"app.example.org:99\"").await;
    assert_eq!(host_of(request), "app.example.org:99");
    let server = Server::one().await;
    let request = asked(&server, "localhost", "", "").await;
    assert_eq!(host_of(request), "localhost");
}
