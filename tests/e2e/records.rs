//! The access record: one for each connection, with everything in it.

use harness::{Capture, Mesh, World, daemon::Setup, rules};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn both_ends_record_one_connection_with_identities_rule_and_tls() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let server = b.serve(&[b.at(7000)], &[]);
    let capture = Capture::start(a);
    let connect = format!("connect={}", b.at(7000));
    a.script(&[&connect, "send=records-secret", "line", "shutdown", "rest"])
        .all_ok();
    let (out, inn) = (mesh.a.only_record(), mesh.b.only_record());
    for record in [&out, &inn] {
        assert_eq!(record.destination(), b.at(7000).to_string(), "{record}");
        assert_eq!(
            record.source(),
            server.accepted()[0]["accept"].as_str().unwrap(),
            "{record}"
        );
        assert_eq!(record.tls_version(), "TLSv1.3", "{record}");
        assert_eq!(record.tls_group(), "X25519MLKEM768", "{record}");
        assert!(record.tls_suite().starts_with("TLS13_"), "{record}");
        assert_eq!(
            record.bytes_up(),
            "records-secret\n".len() as u64,
            "{record}"
        );
        assert!(record.bytes_down() > 50, "{record}");
        assert_eq!(record.carriage(), "tunnel-new", "{record}");
        assert_eq!(record.reason(), "", "{record}");
    }
    assert_eq!((out.direction(), inn.direction()), ("outbound", "inbound"));
    assert_eq!((out.rule(), inn.rule()), ("out", "in"));
    assert_eq!(out.own_identity(), "spiffe://example.org/a");
    assert_eq!(out.peer_identity(), "spiffe://example.org/b");
    assert_eq!(inn.own_identity(), "spiffe://example.org/b");
    assert_eq!(inn.peer_identity(), "spiffe://example.org/a");
    assert_eq!(out.id(), inn.id(), "one connection has one id");
    capture.stop().expect_encrypted("records-secret");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_is_recorded_once_and_at_its_end() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let _server = b.serve(&[b.at(7000)], &[]);
    let connect = format!("connect={}", b.at(7000));
    let mut client = a.peer(&["script", &connect, "send=hello", "line", "pause", "close"]);
    client.line("the answer", |line| {
        line.contains("getsockname").then_some(())
    });
    assert_eq!(
        mesh.a.holdings().connections,
        1,
        "it is listed while it lives"
    );
    assert_eq!(mesh.a.records().len(), 0, "it is recorded at its end");
    client.tell("go on");
    client.finish();
    mesh.a.only_record();
    harness::holds("it is no longer listed", || {
        mesh.a.holdings().connections == 0
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_upstream_that_refuses_is_recorded_and_resets_the_client() {
    let world = World::pair();
    let a = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tls", "spiffe://example.org/b"))
        .start();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = world.a.script(&[&connect, "rest"]);
    assert!(
        steps.of("rest").is_err(),
        "a failing upstream shows as a reset: {steps:?}"
    );
    assert_eq!(a.only_record().reason(), "connect-refused");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_limit_on_connections_refuses_with_its_reason_and_lets_others_live() {
    let mesh = Mesh::with("tunnel", "[limits]\nconnections = 2\n", "");
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000)], &[]);
    let connect = format!("connect={}", b.at(7000));
    let open = || {
        let mut client = a.peer(&[
            "script",
            &connect,
            "send=hello",
            "line",
            "pause",
            "send=again",
            "line",
        ]);
        client.line("an answer", |line| {
            line.contains("getsockname").then_some(())
        });
        client
    };
    let held = [open(), open()];
    let steps = a.script(&[&connect, "send=hello", "line"]);
    assert!(
        steps.of("line").is_err() || steps.ok("line") == "",
        "{steps:?}"
    );
    assert_eq!(mesh.a.only_record().reason(), "too-many-connections");
    for mut client in held {
        client.tell("go on");
        let ended = client.finish();
        assert!(ended.stdout.contains("\\\"again\\\""), "{ended}");
    }
}
