//! Who sees which address, and which ports are open.

use harness::{Mesh, World, daemon::Setup, holds, rules};
use serde_json::Value;

fn ip(name: &Value) -> String {
    let addr: std::net::SocketAddr = name.as_str().unwrap().parse().unwrap();
    addr.ip().to_string()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn both_applications_see_true_addresses_from_getpeername_and_accept() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    for (to, from) in [(b.at(7000), a.at(0)), (b.at6(7000), a.at6(0))] {
        let connect = format!("connect={to}");
        let steps = a
            .script(&[&connect, "names", "send=hello", "line"])
            .all_ok();
        let answer = steps.answer(0);
        assert_eq!(steps.ok("names")["getpeername"], to.to_string());
        assert_eq!(answer["getsockname"], to.to_string());
        assert_eq!(ip(&answer["accept"]), from.ip().to_string());
        assert_eq!(answer["accept"], answer["getpeername"], "both calls agree");
    }
    mesh.a.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_clients_getsockname_shows_the_hosts_routed_address() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    for (to, from) in [(b.at(7000), a.at(0)), (b.at6(7000), a.at6(0))] {
        let steps = a.script(&[&format!("connect={to}"), "names"]).all_ok();
        assert_eq!(ip(&steps.ok("names")["getsockname"]), from.ip().to_string());
    }
    mesh.a.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_of_a_host_to_its_own_address_stays_as_it_is_under_an_mtls_rule() {
    let mesh = Mesh::tunnel();
    let a = &mesh.world.a;
    let _server = a.serve(&[a.at(7000), a.at6(7000)], &[]);
    for to in [a.at(7000), a.at6(7000)] {
        let connect = format!("connect={to}");
        let steps = a.script(&[&connect, "send=hello", "line"]).all_ok();
        assert_eq!(steps.answer(0)["line"], "hello");
    }
    for record in mesh.a.wait_records(2) {
        assert_eq!(record.carriage(), "plain", "{record}");
        assert_eq!(record.reason(), "", "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_dual_stack_server_sees_an_ipv4_client_as_mapped() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&["[::]:7000".parse().unwrap()], &[]);
    let connect = format!("connect={}", b.at(7000));
    let answer = a
        .script(&[&connect, "send=hello", "line"])
        .all_ok()
        .answer(0);
    assert_eq!(ip(&answer["accept"]), "::ffff:10.88.0.1");
    assert_eq!(ip(&answer["getpeername"]), "::ffff:10.88.0.1");
    mesh.b.wait_records(1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_port_without_an_application_refuses_as_a_closed_port_does() {
    let world = World::pair();
    let _b = Setup::new(&world, &world.b)
        .with(rules::inbound(
            r#"["tunnel", "mtls"]"#,
            "spiffe://example.org/a",
        ))
        .start();
    for to in [world.b.at(7000), world.b.at6(7000)] {
        let connect = format!("connect={to}");
        let steps = world.a.script(&[&connect]);
        assert_eq!(steps.of(&connect), Err("ECONNREFUSED".to_owned()), "{to}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_port_opens_and_closes_with_its_application() {
    let world = World::pair();
    let before = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.b)
        .with(rules::inbound_plain())
        .start();
    let connect = format!("connect={}", world.b.at(7000));
    let asks = || world.a.script(&[&connect, "send=hello", "line"]);
    asks().all_ok();
    assert_eq!(
        daemon.wait_records(1)[0].direction(),
        "inbound",
        "listened before the daemon"
    );
    before.stop();
    let refused = Err("ECONNREFUSED".to_owned());
    holds("the port closes with its application", || {
        asks().of(&connect) == refused
    });
    let _again = world.b.serve(&[world.b.at(7000)], &[]);
    asks().all_ok();
    daemon.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn ports_and_addresses_without_a_rule_are_not_touched() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(8080)], &[]);
    let connect = format!("connect={}", b.at(8080));
    let steps = a
        .script(&[&connect, "names", "send=hello", "line"])
        .all_ok();
    assert_eq!(ip(&steps.ok("names")["getsockname"]), "10.88.0.1");
    assert_eq!(steps.answer(0)["accept"], steps.ok("names")["getsockname"]);
    let _near = a.serve(&["127.0.0.1:7000".parse().unwrap()], &[]);
    let near = a
        .script(&["connect=127.0.0.1:7000", "send=hello", "line"])
        .all_ok();
    assert_eq!(ip(&near.answer(0)["accept"]), "127.0.0.1");
    assert_eq!((mesh.a.records().len(), mesh.b.records().len()), (0, 0));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn traffic_of_a_host_to_its_own_address_is_left_alone() {
    let mesh = Mesh::tunnel();
    let b = &mesh.world.b;
    let _server = b.serve(&[b.at(7000)], &[]);
    let connect = format!("connect={}", b.at(7000));
    let steps = b.script(&[&connect, "send=hello", "line"]).all_ok();
    assert_eq!(ip(&steps.answer(0)["accept"]), "10.88.0.2");
    assert_eq!(mesh.b.records().len(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_proxys_own_sockets_are_never_redirected() {
    let world = World::pair();
    let inside = world.a.apps().child("daemon");
    let _b = Setup::new(&world, &world.b)
        .with(rules::inbound(
            r#"["tunnel", "mtls"]"#,
            "spiffe://example.org/a",
        ))
        .start();
    // Started inside the very cgroup that it intercepts: redirected to itself it would loop.
    let a = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .born_in(inside.path())
        .start();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    assert_eq!(a.only_record().reason(), "");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_without_an_original_destination_is_closed() {
    let mut mesh = Mesh::tunnel();
    let owner = format!("pid={},", mesh.a.pid());
    let sockets = mesh.world.a.run("ss", &["-Hltnp"]).expect_code(0);
    let ports: Vec<_> = sockets
        .stdout
        .lines()
        .filter(|line| line.contains(&owner))
        .filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned))
        .collect();
    assert!(!ports.is_empty(), "the daemon has no listener: {sockets}");
    let mut count = 0;
    for port in ports {
        let connect = format!("connect={port}");
        let steps = mesh.world.a.script(&[&connect, "send=stray", "rest"]);
        if steps.of(&connect).is_err() {
            continue;
        }
        let rest = steps.of("rest").unwrap_or_default();
        assert!(rest.is_null() || rest == "", "{port} answered {rest}");
        count += 1;
        let records = mesh
            .a
            .wait_for_records("a record of the stray", |records| records.len() >= count);
        assert_eq!(
            records.last().unwrap().reason(),
            "no-original-destination",
            "a stray to {port}"
        );
    }
    assert!(count > 0, "no listener could be reached");
}
