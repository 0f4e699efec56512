//! Every byte arrives, each end arrives as what it was, and memory stays bounded.

use harness::{Mesh, World, load};
use serde_json::Value;

const MIB: u64 = 1 << 20;

#[track_caller]
fn carries_one_gib_each_way(wire: &str) {
    let mesh = Mesh::with(wire, "", "");
    let b = &mesh.world.b;
    let bytes = load(1024 * MIB);
    let text = bytes.to_string();
    let mut server = b.serve(&[b.at(7000)], &["--mode", "duplex", "--bytes", &text]);
    let to = b.at(7000).to_string();
    let client = mesh
        .world
        .a
        .peer_report(&["bulk", "--to", &to, "--bytes", &text]);
    let server = server.event("ended")["end"].clone();
    for (side, report) in [("client", &client), ("server", &server)] {
        assert_eq!(report["received"], bytes, "{side}: {report}");
        assert_eq!(report["read_error"], Value::Null, "{side}: {report}");
        assert_eq!(report["write_error"], Value::Null, "{side}: {report}");
    }
    for daemon in [&mesh.a, &mesh.b] {
        let record = daemon.only_record();
        assert_eq!(
            (record.bytes_up(), record.bytes_down()),
            (bytes, bytes),
            "{record}"
        );
        assert_eq!(record.reason(), "", "{record}");
    }
    println!(
        "{wire}: {bytes} bytes each way in {} ms",
        client["milliseconds"]
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_tunnel_carries_one_gib_each_way_without_a_wrong_byte() {
    carries_one_gib_each_way("tunnel");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn plain_tls_carries_one_gib_each_way_without_a_wrong_byte() {
    carries_one_gib_each_way("tls");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn half_close_passes_and_the_answer_still_comes() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let b = &mesh.world.b;
        let _server = b.serve(&[b.at(7000)], &["--mode", "sink"]);
        let connect = format!("connect={}", b.at(7000));
        let steps = mesh
            .world
            .a
            .script(&[&connect, "send=twelve bytes", "shutdown", "rest"]);
        assert_eq!(steps.all_ok().ok("rest"), "13\n", "{wire}");
        assert_eq!(mesh.a.only_record().reason(), "", "{wire}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_clients_reset_reaches_the_server_as_a_reset() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let b = &mesh.world.b;
        let mut server = b.serve(&[b.at(7000)], &[]);
        let connect = format!("connect={}", b.at(7000));
        let steps = [&connect, "send=hello", "line", "linger0", "close"];
        mesh.world.a.script(&steps).all_ok();
        assert_eq!(server.event("ended")["end"], "ECONNRESET", "{wire}");
        assert_eq!(mesh.a.only_record().reason(), "reset", "{wire}");
        assert_eq!(mesh.b.only_record().reason(), "reset", "{wire}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_servers_reset_reaches_the_client_as_a_reset() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let b = &mesh.world.b;
        let _server = b.serve(&[b.at(7000)], &["--mode", "reset"]);
        let connect = format!("connect={}", b.at(7000));
        let steps = mesh.world.a.script(&[&connect, "send=hello", "rest"]);
        assert_eq!(steps.of("rest"), Err("ECONNRESET".to_owned()), "{wire}");
        assert_eq!(mesh.a.only_record().reason(), "reset", "{wire}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_tunnel_after_a_reset_carries_no_byte_of_the_lease_before() {
    let mesh = Mesh::tunnel();
    let b = &mesh.world.b;
    let _server = b.serve(&[b.at(7000)], &[]);
    let connect = format!("connect={}", b.at(7000));
    for n in 0..50 {
        let (last, next) = (format!("send=before-{n}"), format!("send=after-{n}"));
        mesh.world
            .a
            .script(&[&connect, &last, "linger0", "close"])
            .all_ok();
        let steps = mesh.world.a.script(&[&connect, &next, "line"]).all_ok();
        assert_eq!(steps.answer(0)["line"], format!("after-{n}"));
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_that_does_not_read_bounds_memory_and_the_clients_reset_is_still_noticed() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let _server = b.serve(&[b.at(7000)], &["--mode", "stall", "--quiet"]);
    let to = b.at(7000).to_string();
    let before = (mesh.a.memory(), mesh.b.memory());
    let mut client = a.peer(&["flood", "--to", &to]);
    let report = client.line("it is stuck", harness::peer::parse);
    is_bounded(&mut mesh, before, &report);
    client.tell("reset");
    let record = mesh.a.only_record();
    assert_eq!(record.reason(), "reset", "{record}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_that_does_not_read_bounds_memory_and_still_sees_the_servers_end() {
    let mut mesh = Mesh::tunnel();
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let mut server = b.serve(&[b.at(7000)], &["--mode", "flood", "--quiet"]);
    let connect = format!("connect={}", b.at(7000));
    let before = (mesh.a.memory(), mesh.b.memory());
    let client = a.peer(&["script", &connect, "pause"]);
    let report = server.event("flooded");
    is_bounded(&mut mesh, before, &report);
    drop(client);
    mesh.a.only_record();
}

/// Socket buffers of four hops and the relays' own: a few MiB each, never what is sent.
#[track_caller]
fn is_bounded(mesh: &mut Mesh, before: (u64, u64), report: &Value) {
    assert_eq!(
        report["end"], "stuck",
        "backpressure reaches the writer: {report}"
    );
    assert!(report["taken"].as_u64().unwrap() < 96 * MIB, "{report}");
    for (daemon, before) in [(&mut mesh.a, before.0), (&mut mesh.b, before.1)] {
        let grown = daemon.memory().saturating_sub(before);
        assert!(
            grown < 24 * MIB,
            "{} grew by {grown} bytes",
            daemon.instance()
        );
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn passthrough_carries_one_gib_each_way_without_a_wrong_byte() {
    let world = World::pair();
    let a = harness::daemon::Setup::new(&world, &world.a)
        .with(harness::rules::outbound_passthrough())
        .start();
    let bytes = load(1024 * MIB);
    let text = bytes.to_string();
    let mut server = world
        .b
        .serve(&[world.b.at(7000)], &["--mode", "duplex", "--bytes", &text]);
    let to = world.b.at(7000).to_string();
    let client = world
        .a
        .peer_report(&["bulk", "--to", &to, "--bytes", &text]);
    assert_eq!(client["received"], bytes, "{client}");
    let ended = server.event("ended");
    assert_eq!(ended["end"]["received"], bytes, "{ended}");
    let record = a.only_record();
    assert_eq!(record.carriage(), "plain", "{record}");
    assert_eq!(
        (record.bytes_up(), record.bytes_down()),
        (bytes, bytes),
        "{record}"
    );
}
