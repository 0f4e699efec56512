use super::*;

async fn good(wire: Wire, expect: &[&str]) -> (Originated, Terminated) {
    good_with(wire, expect, &Handshakes::default()).await
}

async fn good_with(
    wire: Wire,
    expect: &[&str],
    handshakes: &Handshakes,
) -> (Originated, Terminated) {
    let ca = authority();
    let trusted = || Trusted("example.org", &ca, None);
    let (client, server) = (
        host(&client_of(&ca), &[trusted()]),
        host(&server_of(&ca), &[trusted()]),
    );
    let clock = Clock::now();
    let (client, server) = meet(
        &originator_with(&client, expect, (wire, handshakes), &clock),
        &terminator(&server, &["spiffe://example.org/client"], wire, &clock),
    )
    .await;
    let (originated, greeting) = client.unwrap();
    assert_eq!(greeting.unwrap(), b'x');
    (originated, server.unwrap())
}

#[tokio::test]
async fn both_sides_know_who_the_other_is() {
    let (client, server) = good(Wire::Tunnel, &["spiffe://example.org/server"]).await;
    assert_eq!(client.peer.to_string(), "spiffe://example.org/server");
    assert_eq!(server.peer.to_string(), "spiffe://example.org/client");
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_and_the_suite_the_cheap_one() {
    for wire in [Wire::Tunnel, Wire::Tls] {
        let (client, server) = good(wire, &["spiffe://example.org/server"]).await;
        for facts in [&client.facts, &server.facts] {
            assert_eq!(facts.version, "TLSv1.3");
            assert_eq!(facts.group, "X25519MLKEM768");
            assert_eq!(facts.suite, "TLS13_AES_128_GCM_SHA256");
            assert!(!facts.resumed);
        }
    }
}

#[tokio::test]
async fn the_key_exchange_is_of_the_group_that_a_rule_names_first() {
    for group in Group::ALL {
        let groups = [group, Group::X25519];
        let handshakes = Handshakes {
            groups: groups[..1 + usize::from(group != Group::X25519)].to_vec(),
            ..Handshakes::default()
        };
        for wire in [Wire::Tunnel, Wire::Tls] {
            let (client, server) = good_with(wire, &["any"], &handshakes).await;
            assert_eq!(client.facts.group, group.label());
            assert_eq!(server.facts.group, group.label());
        }
    }
}

#[tokio::test]
async fn a_peer_is_expected_by_its_dns_name_or_by_the_dialled_address() {
    let (client, server) = good(Wire::Tls, &["name.example.org"]).await;
    assert_eq!(
        server.stream.get_ref().1.server_name(),
        Some("name.example.org")
    );
    drop(client);
    // With a server name to send beside it, ip-san still means the address that was dialled.
    good(Wire::Tls, &["other.example.org", "ip-san"]).await;
    let (_client, server) = good(Wire::Tls, &["ip-san"]).await;
    assert_eq!(server.stream.get_ref().1.server_name(), None);
}

#[tokio::test]
async fn a_tunnel_is_not_made_with_a_peer_that_does_not_speak_it() {
    let ca = authority();
    let trusted = || Trusted("example.org", &ca, None);
    let (client, server) = (
        host(&client_of(&ca), &[trusted()]),
        host(&server_of(&ca), &[trusted()]),
    );
    let clock = Clock::now();
    let (client_says, _) = meet(
        &originator(&client, &["any"], Wire::Tunnel, &clock),
        &terminator(&server, &["any"], Wire::Tls, &clock),
    )
    .await;
    assert_eq!(client_says.unwrap_err().reason, Reason::TunnelProtocol);
    let (_, server_says) = meet(
        &originator(&client, &["any"], Wire::Tls, &clock),
        &terminator(&server, &["any"], Wire::Tunnel, &clock),
    )
    .await;
    assert_eq!(server_says.unwrap_err().reason, Reason::ProtocolNotAccepted);
}
