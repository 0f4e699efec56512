//! What an application asks of its socket holds for the connection that is made for it.

use std::net::SocketAddr;

use harness::{Capture, Host, Mesh, Record, World, lacking::has_mptcp, rules};

/// A second device of `a`, to which everything for `b` goes by default: nothing answers there.
fn a_wrong_way(world: &World) {
    let netns = world.a.netns();
    netns.ip(&[
        "link", "add", "side0", "type", "veth", "peer", "name", "side1",
    ]);
    netns.ip(&["link", "set", "side0", "up"]);
    netns.ip(&["link", "set", "side1", "up"]);
    let (v4, v6) = (
        format!("{}/32", world.b.v4()),
        format!("{}/128", world.b.v6()),
    );
    netns.ip(&["route", "add", &v4, "dev", "side0"]);
    netns.ip(&["-6", "route", "add", &v6, "dev", "side0"]);
}

fn both(host: &Host) -> [SocketAddr; 2] {
    [host.at(7000), host.at6(7000)]
}

#[track_caller]
fn all_by_tunnel(records: &[Record]) {
    for record in records {
        assert!(record.carriage().starts_with("tunnel"), "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_bound_device_holds_for_the_tunnel_and_is_not_shared() {
    let world = World::pair();
    a_wrong_way(&world);
    let mesh = Mesh::on(world, "tunnel", "[limits]\nconnect_timeout = \"1s\"\n", "");
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&both(b), &[]);
    for (nth, to) in both(b).into_iter().enumerate() {
        let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
        let connect = format!("connect={to}");
        let ask = [&connect, "send=hello", "line"];
        let bound = [&[family, "device=eth0"], &ask[..]].concat();
        assert_eq!(a.script(&bound).all_ok().answer(0)["line"], "hello");
        mesh.a.wait_records(2 * nth + 1);
        // Its tunnel is idle now and leads there; nobody else may use it.
        let unbound = a.script(&ask);
        let line = unbound.of("line").unwrap_or_default();
        assert!(!line.to_string().contains("hello"), "{unbound:?}");
        mesh.a.wait_records(2 * nth + 2);
    }
    let records = mesh.a.wait_records(4);
    let carried = |n: usize| records[n].carriage().starts_with("tunnel");
    assert_eq!([0, 1, 2, 3].map(carried), [true, false, true, false]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_bound_device_holds_for_plain_tls_and_for_passthrough() {
    for wire in ["tls", "plain"] {
        let world = World::pair();
        a_wrong_way(&world);
        let mesh = match wire {
            "tls" => Mesh::on(world, "tls", "", ""),
            _ => passthrough(world),
        };
        let (a, b) = (&mesh.world.a, &mesh.world.b);
        let _server = b.serve(&both(b), &[]);
        for to in both(b) {
            let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
            let connect = format!("connect={to}");
            let steps = [family, "device=eth0", &connect, "send=hello", "line"];
            assert_eq!(a.script(&steps).all_ok().answer(0)["line"], "hello");
        }
        for record in mesh.a.wait_records(2) {
            assert_eq!((record.carriage(), record.reason()), (wire, ""), "{record}");
        }
    }
}

fn passthrough(world: World) -> Mesh {
    let b = harness::daemon::Setup::new(&world, &world.b)
        .with(rules::inbound_plain())
        .start();
    let a = harness::daemon::Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    Mesh { a, b, world }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_that_is_not_redirected_any_more_has_its_device_again() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at(9000)], &[]);
    let (first, second) = (
        format!("connect={}", b.at(7000)),
        format!("connect={}", b.at(9000)),
    );
    let steps = [
        "tcp4",
        "device=eth0",
        &first,
        "send=1",
        "line",
        "device",
        "disconnect",
        &second,
        "device",
        "send=2",
        "line",
    ];
    let steps = a.script(&steps).all_ok();
    assert_eq!(
        steps.nth("device", 0).unwrap(),
        "",
        "while it is redirected"
    );
    assert_eq!(steps.nth("device", 1).unwrap(), "eth0");
    assert_eq!(steps.answer(1)["line"], "2");
    all_by_tunnel(&mesh.a.wait_records(1));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_that_the_kernel_keeps_on_its_device_is_refused_and_sends_no_plain_text() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let server = b.serve(&both(b), &[]);
    let capture = Capture::start(a);
    for to in both(b) {
        let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
        let connect = format!("connect={to}");
        // Whoever lacks CAP_NET_RAW may bind a socket to a device, and not take it off again.
        let steps = [
            family,
            "device=eth0",
            "uid=65534",
            &connect,
            "send=device-secret",
        ];
        assert_eq!(a.script(&steps).of(&connect), Err("ENODEV".to_owned()));
    }
    capture.stop().expect_no_plaintext("device-secret");
    assert!(server.accepted().is_empty());
    for record in mesh.a.wait_records(2) {
        assert_eq!(record.reason(), "device-bound", "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_applications_dscp_holds_on_the_wire_over_ipv6() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let to = mesh.world.b.at6(7000);
        let _server = mesh.world.b.serve(&[to], &[]);
        let connect = format!("connect={to}");
        // Ethernet's type for IPv6, the version, and the first half of a traffic class of EF.
        let marked = [0x86, 0xdd, 0x6b];
        for (step, expected) in [("class=184", true), ("class=0", false)] {
            let capture = Capture::start(&mesh.world.a);
            let steps = ["tcp6", step, &connect, "send=hello", "line"];
            mesh.world.a.script(&steps).all_ok();
            assert_eq!(
                capture.stop().contains(marked),
                expected,
                "{step} by {wire}"
            );
        }
        mesh.a.wait_records(2);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_applications_mark_holds_for_routing_and_is_not_shared() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let (a, b) = (&mesh.world.a, &mesh.world.b);
        for family in ["-4", "-6"] {
            a.netns()
                .ip(&[family, "rule", "add", "fwmark", "77", "unreachable"]);
        }
        let _server = b.serve(&both(b), &[]);
        for (nth, to) in both(b).into_iter().enumerate() {
            let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
            let connect = format!("connect={to}");
            let ask = [&connect, "send=hello", "line"];
            a.script(&[&[family], &ask[..]].concat()).all_ok();
            // Its record comes with its end, which the next one's could come before.
            mesh.a.wait_records(2 * nth + 1);
            // A tunnel is idle, and it is of another mark.
            let marked = a.script(&[&[family, "mark=77"], &ask[..]].concat());
            let line = marked.of("line").unwrap_or_default();
            assert!(!line.to_string().contains("hello"), "{marked:?}");
        }
        let reasons: Vec<_> = mesh
            .a
            .wait_records(4)
            .iter()
            .map(|r| r.reason().to_owned())
            .collect();
        assert_eq!(reasons, ["", "unreachable", "", "unreachable"], "by {wire}");
    }
}

/// Every kind of TCP Fast Open: with a cookie, and with data in the SYN without one, at every
/// listener.
const FAST_OPEN: [&str; 2] = ["3", "1543"];

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_with_fast_open_is_redirected_to_what_it_dialled() {
    for sysctl in FAST_OPEN {
        let world = World::pair();
        world.a.sysctl("net/ipv4/tcp_fastopen", sysctl);
        world.b.sysctl("net/ipv4/tcp_fastopen", sysctl);
        let mesh = Mesh::on(world, "tunnel", "", "");
        let (a, b) = (&mesh.world.a, &mesh.world.b);
        let _server = b.serve(&both(b), &["--fast-open"]);
        let capture = Capture::start(a);
        for to in both(b) {
            let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
            let (connect, fastsend) = (format!("connect={to}"), format!("fastsend={to}"));
            // The second of each may have got a cookie from the first.
            for _ in 0..2 {
                let steps = [
                    family,
                    "fastopen",
                    &connect,
                    "send=fast",
                    "line",
                    "names",
                    "acked",
                ];
                let steps = a.script(&steps).all_ok();
                assert_eq!(steps.answer(0)["line"], "fast");
                assert_eq!(steps.answer(0)["getsockname"], to.to_string());
                assert_eq!(steps.ok("names")["getpeername"], to.to_string());
                assert_eq!(steps.ok("acked"), sysctl == "1543", "data in the SYN");
                let steps = a.script(&[family, &fastsend, "line", "names"]).all_ok();
                assert_eq!(steps.answer(0)["line"], "fast");
                assert_eq!(steps.answer(0)["getsockname"], to.to_string());
                assert_eq!(steps.ok("names")["getpeername"], to.to_string());
            }
        }
        capture.stop().expect_encrypted("fast\n");
        all_by_tunnel(&mesh.a.wait_records(8));
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_mptcp_server_sees_its_remote_clients_address() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    if !has_mptcp(a) {
        return;
    }
    let _server = b.serve(&both(b), &["--mptcp"]);
    for (kind, to, from) in [
        ("tcp4", b.at(7000), a.at(0)),
        ("tcp6", b.at6(7000), a.at6(0)),
        ("mptcp", b.at(7000), a.at(0)),
        ("mptcp6", b.at6(7000), a.at6(0)),
    ] {
        let connect = format!("connect={to}");
        let steps = a
            .script(&[kind, &connect, "names", "send=hello", "line"])
            .all_ok();
        let answer = steps.answer(0);
        assert_eq!(answer["line"], "hello", "{kind}");
        assert_eq!(steps.ok("names")["getpeername"], to.to_string(), "{kind}");
        assert_eq!(answer["getsockname"], to.to_string(), "{kind}");
        let seen: SocketAddr = answer["accept"].as_str().unwrap().parse().unwrap();
        assert_eq!(seen.ip(), from.ip(), "{kind}");
        assert_eq!(answer["accept"], answer["getpeername"], "{kind}");
    }
    all_by_tunnel(&mesh.a.wait_records(4));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_host_without_ipv4_fails_it_at_once_and_serves_ipv6() {
    let world = World::pair();
    for host in [&world.a, &world.b] {
        host.netns().ip(&["-4", "addr", "flush", "dev", "eth0"]);
    }
    let (to4, to6) = (world.b.at(7000), world.b.at6(7000));
    let mesh = Mesh::on(world, "tunnel", "", "");
    let _server = mesh.world.b.serve(&[to6], &[]);
    let (connect4, connect6) = (format!("connect={to4}"), format!("connect={to6}"));
    let steps = mesh.world.a.script(&[&connect4]);
    assert_eq!(steps.of(&connect4), Err("ENETUNREACH".to_owned()));
    mesh.a.wait_records(1);
    let steps = mesh
        .world
        .a
        .script(&[&connect6, "send=hello", "line"])
        .all_ok();
    assert_eq!(steps.answer(0)["getsockname"], to6.to_string());
    let records = mesh.a.wait_records(2);
    let reasons: Vec<_> = records.iter().map(Record::reason).collect();
    assert_eq!(reasons, ["unreachable", ""]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_host_whose_kernel_has_no_ipv6_serves_ipv4() {
    let world = World::pair();
    for host in [&world.a, &world.b] {
        host.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    }
    let to = world.b.at(7000);
    let mesh = Mesh::on(world, "tunnel", "", "");
    let _server = mesh.world.b.serve(&[to], &[]);
    let connect = format!("connect={to}");
    let steps = mesh
        .world
        .a
        .script(&[&connect, "send=hello", "line"])
        .all_ok();
    assert_eq!(steps.answer(0)["getsockname"], to.to_string());
    all_by_tunnel(&mesh.a.wait_records(1));
}
