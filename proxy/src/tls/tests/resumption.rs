use tokio::net::TcpSocket;

use super::*;

/// A client and a server whose certificates last for `client_hours` and `server_hours`.
fn pair(
    client_hours: i64,
    server_hours: i64,
    allow: &[&str],
    clock: &Arc<Clock>,
) -> (Material, Terminator) {
    let ca = authority();
    let trusted = || [Trusted("example.org", &ca, None)];
    let issue = |id, hours| ca.issue(&leaf(id, -HOUR, hours * HOUR)).unwrap();
    let client = host(
        &issue("spiffe://example.org/client", client_hours),
        &trusted(),
    );
    let server = host(
        &issue("spiffe://example.org/server", server_hours),
        &trusted(),
    );
    (client, terminator(&server, allow, Wire::Tls, clock))
}

/// Whether a connection was resumed, both sides agreeing.
async fn resumes(originator: &Originator, terminator: &Terminator) -> bool {
    let (client, server) = meet(originator, terminator).await;
    let (client, server) = (client.unwrap().0, server.unwrap());
    assert_eq!(client.facts.resumed, server.facts.resumed);
    assert_eq!(client.peer.to_string(), "spiffe://example.org/server");
    assert_eq!(server.peer.to_string(), "spiffe://example.org/client");
    client.facts.resumed
}

#[tokio::test]
async fn plain_tls_resumes_and_no_other_originator_uses_its_session() {
    let clock = Clock::now();
    let (client, server) = pair(1, 1, &["any"], &clock);
    let first = originator(&client, &["spiffe://example.org/server"], Wire::Tls, &clock);
    let second = originator(&client, &["spiffe://example.org/server"], Wire::Tls, &clock);
    assert!(!resumes(&first, &server).await);
    assert!(!resumes(&second, &server).await);
    assert!(resumes(&first, &server).await);
    assert!(resumes(&first, &server).await);
}

#[tokio::test]
async fn plain_tls_without_resumption_has_a_full_handshake_each_time() {
    let clock = Clock::now();
    let (client, server) = pair(1, 1, &["any"], &clock);
    let full = Handshakes {
        resumption: false,
        ..Handshakes::default()
    };
    let client = originator_with(&client, &["any"], (Wire::Tls, &full), &clock);
    assert!(!resumes(&client, &server).await);
    assert!(!resumes(&client, &server).await);
}

#[tokio::test]
async fn a_session_is_not_resumed_by_another_terminator() {
    let clock = Clock::now();
    let ca = authority();
    let trusted = || [Trusted("example.org", &ca, None)];
    let client = host(&client_of(&ca), &trusted());
    let server = host(&server_of(&ca), &trusted());
    let client = originator(&client, &["any"], Wire::Tls, &clock);
    assert!(!resumes(&client, &terminator(&server, &["any"], Wire::Tls, &clock)).await);
    assert!(!resumes(&client, &terminator(&server, &["any"], Wire::Tls, &clock)).await);
}

#[tokio::test]
async fn a_resumed_session_is_refused_by_the_server_once_the_client_has_expired() {
    let clock = Clock::now();
    let (client, server) = pair(1, 10, &["any"], &clock);
    let client = originator(&client, &["any"], Wire::Tls, &clock);
    assert!(!resumes(&client, &server).await);
    clock.advance(2 * HOUR);
    let (client, server) = meet(&client, &server).await;
    assert_eq!(server.unwrap_err().reason, Reason::CertificateExpired);
    // No alert: the handshake was over for TLS. A full one would have brought one.
    assert_eq!(client.unwrap_err().reason, Reason::Reset);
}

#[tokio::test]
async fn a_resumed_session_is_refused_by_the_client_once_the_server_has_expired() {
    let clock = Clock::now();
    let (client, server) = pair(10, 1, &["any"], &clock);
    let client = originator(&client, &["any"], Wire::Tls, &clock);
    assert!(!resumes(&client, &server).await);
    clock.advance(2 * HOUR);
    let (client, server) = meet(&client, &server).await;
    assert_eq!(client.unwrap_err().reason, Reason::CertificateExpired);
    // No alert, as above; the reset may overtake the client's Finished.
    match server {
        Ok(server) => assert!(server.facts.resumed),
        Err(refusal) => assert!(refusal.detail.contains("reset"), "{refusal}"),
    }
}

#[tokio::test]
async fn a_resumed_session_is_refused_where_its_identity_is_not_allowed() {
    let clock = Clock::now();
    let (client, server) = pair(1, 1, &["ip-san"], &clock);
    let client = originator(&client, &["any"], Wire::Tls, &clock);
    assert!(!resumes(&client, &server).await);
    assert!(resumes(&client, &server).await);
    // The same session from an address that its certificate does not carry.
    let (listener, address) = listen().await;
    let dial = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        let mut originated = client
            .originate(tcp, UpstreamAddr::new(address))
            .await
            .unwrap();
        assert!(originated.facts.resumed);
        originated.stream.read_u8().await.unwrap_err();
    };
    let ((), refused) = tokio::join!(dial, serve(&listener, &server));
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, Reason::NotAllowed);
    assert!(refused.detail.contains("ip-san 127.0.0.2"), "{refused}");
}

#[tokio::test]
async fn a_tunnel_is_never_resumed() {
    let clock = Clock::now();
    let ca = authority();
    let trusted = || [Trusted("example.org", &ca, None)];
    let client = host(&client_of(&ca), &trusted());
    let server = terminator(
        &host(&server_of(&ca), &trusted()),
        &["any"],
        Wire::Tunnel,
        &clock,
    );
    let client = originator(&client, &["any"], Wire::Tunnel, &clock);
    assert!(!resumes(&client, &server).await);
    assert!(!resumes(&client, &server).await);
}
