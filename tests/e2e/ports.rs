//! More connections at a time than a range of ephemeral ports has.

use std::{net::SocketAddr, time::Duration};

use harness::{Mesh, World, load};

/// Two hosts with an ephemeral range of `ports` each, and more addresses for `a`.
fn hosts(ports: u64) -> World {
    let world = World::pair();
    for host in [&world.a, &world.b] {
        let range = format!("20000 {}", 20_000 + ports - 1);
        host.sysctl("net/ipv4/ip_local_port_range", &format!("'{range}'"));
    }
    for number in 3..=6 {
        let netns = world.a.netns();
        let (v4, v6) = (format!("10.88.0.{number}/24"), format!("fd88::{number}/64"));
        netns.ip(&["addr", "add", &v4, "dev", "eth0"]);
        netns.ip(&["addr", "add", &v6, "dev", "eth0", "nodad"]);
    }
    world
}

/// `count` connections are held at the same time, then all are used again.
#[track_caller]
fn holds_all(mesh: &mut Mesh, count: u64, from: &[SocketAddr], to: &[SocketAddr]) {
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let _server = b.serve(to, &["--quiet"]);
    let mut words = vec!["hold".to_owned(), "--count".to_owned(), count.to_string()];
    words.extend(to.iter().flat_map(|to| ["--to".to_owned(), to.to_string()]));
    words.extend(
        from.iter()
            .flat_map(|from| ["--from".to_owned(), from.to_string()]),
    );
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut client = a.peer(&words);
    let opened = harness::wait::within(Duration::from_secs(300), || {
        let lines = client.stdout();
        lines.iter().find_map(|line| harness::peer::parse(line))
    });
    let opened = opened.unwrap_or_else(|| panic!("they did not open\n{}", client.said()));
    assert_eq!(opened["count"], count, "{opened}");
    assert_eq!(mesh.a.holdings().connections as u64, count);
    assert_eq!(mesh.b.holdings().connections as u64, count);
    client.tell("use them all again");
    let ended = client.finish_within(Duration::from_secs(300));
    assert!(
        ended.stdout.contains(&format!("\"alive\":{count}")),
        "{ended}"
    );
    for record in mesh.a.wait_records(count as usize) {
        assert!(record.carriage().starts_with("tunnel"), "{record}");
    }
}

/// From one source to four destinations: the wire has room, and all of them go through the
/// listeners on one loopback address.
#[track_caller]
fn the_redirection_is_no_bottleneck(at: impl Fn(&Mesh, u16) -> SocketAddr) {
    let mut mesh = Mesh::on(hosts(load(1_000)), "tunnel", "", "");
    let to: Vec<_> = (7000..7004).map(|port| at(&mesh, port)).collect();
    holds_all(&mut mesh, load(3_000), &[], &to);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn three_thousand_connections_are_redirected_with_a_range_of_a_thousand_ports() {
    the_redirection_is_no_bottleneck(|mesh, port| mesh.world.b.at(port));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn three_thousand_ipv6_connections_are_redirected_with_a_range_of_a_thousand_ports() {
    the_redirection_is_no_bottleneck(|mesh, port| mesh.world.b.at6(port));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn three_thousand_connections_reach_one_application_with_a_range_of_a_thousand_ports() {
    // From four sources, so that the wire has room; the hop has a single destination.
    let mut mesh = Mesh::on(hosts(load(1_000)), "tunnel", "", "");
    let from = [3, 4, 5, 6].map(|number| SocketAddr::from(([10, 88, 0, number], 0)));
    let to = mesh.world.b.at(7000);
    holds_all(&mut mesh, load(3_000), &from, &[to]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn three_thousand_connections_reach_one_ipv6_application_with_a_range_of_a_thousand_ports() {
    let mut mesh = Mesh::on(hosts(load(1_000)), "tunnel", "", "");
    let from = [3, 4, 5, 6].map(|number| SocketAddr::from(([0xfd88, 0, 0, 0, 0, 0, 0, number], 0)));
    let to = mesh.world.b.at6(7000);
    holds_all(&mut mesh, load(3_000), &from, &[to]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn eight_thousand_connections_live_at_once() {
    let mut mesh = Mesh::tunnel();
    let to = [mesh.world.b.at(7000), mesh.world.b.at6(7000)];
    holds_all(&mut mesh, load(8_000), &[], &to);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_source_whose_ports_are_all_in_use_is_a_reason_of_its_own() {
    // The listeners themselves take sixteen of them.
    let mesh = Mesh::on(hosts(40), "tunnel", "", "");
    let to = mesh.world.b.at(7000).to_string();
    let _server = mesh.world.b.serve(&[mesh.world.b.at(7000)], &["--quiet"]);
    // One destination, so that the wire has no room; the four listeners have more.
    let mut client = mesh.world.a.peer(&["hold", "--count", "48", "--to", &to]);
    let failed = client.line("one too many", |line| {
        harness::peer::parse(line).filter(|said| said["event"] == "failed")
    });
    // Not at once: the listener had answered.
    assert_ne!(failed["errno"], "EADDRNOTAVAIL", "{failed}");
    let records = mesh.a.wait_for_records("the refusal", |records| {
        records
            .iter()
            .any(|record| record.reason() == "ports-exhausted")
    });
    assert!(!records.is_empty());
}
