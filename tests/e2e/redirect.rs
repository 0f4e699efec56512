//! Every way to connect reaches the destination that was asked for.

use harness::{Capture, Mesh, World, holds, lacking::has_mptcp};
use nix::sys::signal::Signal;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn ipv4_ipv6_and_v4_mapped_connects_reach_the_address_they_asked_for() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    let v4 = format!("connect={}", b.at(7000));
    let v6 = format!("connect={}", b.at6(7000));
    for (nth, (family, connect)) in [("tcp4", &v4), ("tcp6", &v6), ("tcp6", &v4)]
        .into_iter()
        .enumerate()
    {
        let steps = a.script(&[family, connect, "send=hello", "line"]).all_ok();
        assert_eq!(
            format!(
                "connect={}",
                steps.answer(0)["getsockname"].as_str().unwrap()
            ),
            *connect
        );
        // It comes with the connection's end, which the next one's could come before.
        mesh.a.wait_records(nth + 1);
    }
    assert_eq!(server.accepted().len(), 3);
    let records = mesh.a.wait_records(3);
    assert!(
        records.iter().all(|record| record.reason().is_empty()),
        "{records:#?}"
    );
    assert_eq!(
        records[2].destination(),
        b.at(7000).to_string(),
        "mapped is IPv4"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_non_blocking_connect_reaches_the_address_it_asked_for() {
    let mesh = Mesh::tunnel();
    let to = mesh.world.b.at(7000);
    let _server = mesh.world.b.serve(&[to], &[]);
    let connect = format!("connect={to}");
    let steps = [
        "tcp4",
        "nonblocking",
        &connect,
        "names",
        "send=hello",
        "line",
    ];
    let steps = mesh.world.a.script(&steps).all_ok();
    assert_eq!(steps.ok("names")["getpeername"], to.to_string());
    assert_eq!(steps.answer(0)["getsockname"], to.to_string());
    mesh.a.wait_records(1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn connect_write_close_before_the_proxy_accepts_delivers_the_bytes() {
    let mut mesh = Mesh::tunnel();
    let to = mesh.world.b.at(7000);
    let mut server = mesh.world.b.serve(&[to], &[]);
    mesh.a.signal(Signal::SIGSTOP);
    for line in ["send=one", "send=two", "send=three"] {
        mesh.world
            .a
            .script(&[&format!("connect={to}"), line, "close"])
            .all_ok();
    }
    assert_eq!(server.totals(), (0, 0), "the proxy is stopped");
    mesh.a.signal(Signal::SIGCONT);
    holds("three lines arrive", || server.totals() == (3, 3));
    let records = mesh.a.wait_records(3);
    assert!(
        records
            .iter()
            .all(|record| record.destination() == to.to_string()),
        "{records:#?}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reset_before_the_proxy_accepts_leaves_nothing_and_harms_no_other() {
    // Idle tunnels are kept on purpose and are no leak; here they go at once.
    let mut mesh = Mesh::with("tunnel", "[limits]\ntunnel_idle = \"1s\"\n", "");
    let to = mesh.world.b.at(7000);
    let _server = mesh.world.b.serve(&[to], &[]);
    let connect = format!("connect={to}");
    mesh.world
        .a
        .script(&[&connect, "send=first", "line"])
        .all_ok();
    mesh.a.wait_records(1);
    let before = mesh.a.holdings();
    mesh.a.signal(Signal::SIGSTOP);
    for _ in 0..20 {
        mesh.world
            .a
            .script(&[&connect, "linger0", "close"])
            .all_ok();
    }
    mesh.a.signal(Signal::SIGCONT);
    let steps = mesh
        .world
        .a
        .script(&[&connect, "send=after", "line"])
        .all_ok();
    assert_eq!(steps.answer(0)["line"], "after");
    mesh.a.wait_holdings(&before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_retry_on_the_same_socket_reaches_its_own_destination() {
    let deny = "[[outbound]]\nname = \"no\"\nto = [\"10.88.0.0/24\"]\nports = [\"6000\"]\naction = \"deny\"\n";
    let mesh = Mesh::with("tunnel", deny, "");
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000)], &[]);
    let denied = format!("connect={}", b.at(6000));
    let closed = format!("connect={}", b.at(9000));
    let good = format!("connect={}", b.at(7000));
    let steps = a.script(&["tcp4", &denied, &closed, &good, "send=hello", "line"]);
    assert!(
        steps.of(&denied).is_err(),
        "a deny rule fails connect(): {steps:?}"
    );
    assert_eq!(
        steps.of(&closed),
        Err("ECONNREFUSED".to_owned()),
        "no rule: not touched"
    );
    assert_eq!(steps.answer(0)["getsockname"], b.at(7000).to_string());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_taken_apart_by_af_unspec_reaches_its_second_destination() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at(7001)], &[]);
    let first = format!("connect={}", b.at(7000));
    let second = format!("connect={}", b.at(7001));
    let steps = [
        "tcp4",
        &first,
        "send=1",
        "line",
        "disconnect",
        &second,
        "send=2",
        "line",
        "names",
    ];
    let steps = a.script(&steps).all_ok();
    assert_eq!(steps.answer(0)["getsockname"], b.at(7000).to_string());
    assert_eq!(steps.answer(1)["getsockname"], b.at(7001).to_string());
    assert_eq!(steps.ok("names")["getpeername"], b.at(7001).to_string());
    mesh.a.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_bound_source_address_and_port_hold_to_the_far_application() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000), b.at6(7000)], &[]);
    for (source, to) in [
        (a.at(0), b.at(7000)),
        (a.at(41_000), b.at(7000)),
        (a.at6(41_000), b.at6(7000)),
    ] {
        let (bind, connect) = (format!("bind={source}"), format!("connect={to}"));
        let answer = a
            .script(&[&bind, &connect, "send=hello", "line"])
            .all_ok()
            .answer(0);
        let seen: std::net::SocketAddr = answer["accept"].as_str().unwrap().parse().unwrap();
        assert_eq!(seen.ip(), source.ip());
        assert!(
            source.port() == 0 || seen.port() == source.port(),
            "{seen} is not {source}"
        );
    }
    // The addresses alone would be right without any redirection too.
    for record in mesh.a.wait_records(3) {
        assert!(record.carriage().starts_with("tunnel"), "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn one_source_port_to_two_destinations_with_a_full_accept_queue_swaps_nothing() {
    let world = World::pair();
    world.a.sysctl("net/core/somaxconn", "2");
    let mut mesh = Mesh::on(world, "tunnel", "", "");
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let _server = b.serve(&[b.at(7000), b.at(7001)], &[]);
    mesh.a.signal(Signal::SIGSTOP);
    let first = format!("start={}", b.at(7000));
    let second = format!("start={}", b.at(7001));
    let fill: Vec<_> = (100..200).map(|slot| format!("slot={slot}")).collect();
    let mut words = Vec::new();
    for slot in &fill {
        words.extend([slot, "tcp4", "nonblocking", &first]);
    }
    // Both destinations may fall to the same listener, where the kernel itself forbids the second
    // use of a port; among several ports there are pairs that it allows.
    let pairs: Vec<_> = (0..16_u16)
        .map(|n| {
            (
                format!("slot={n}"),
                format!("slot={}", n + 50),
                format!("bind=10.88.0.1:{}", 42_000 + n),
            )
        })
        .collect();
    for (one, two, bind) in &pairs {
        words.extend([one.as_str(), "tcp4", "reuse", bind, "nonblocking", &first]);
        words.extend([two.as_str(), "tcp4", "reuse", bind, "nonblocking", &second]);
    }
    words.push("pause");
    for (one, two, _) in &pairs {
        words.extend([one.as_str(), "finish", "send=to-7000", "line"]);
        words.extend([two.as_str(), "finish", "send=to-7001", "line"]);
    }
    let mut client = a.peer(&[&["script"], &words[..]].concat());
    let last_start = pairs.len() + fill.len();
    let starts = |line: &&String| line.contains("start=10.88.0.2");
    holds("every connect was begun", || {
        client.stdout().iter().filter(starts).count() >= last_start + pairs.len()
    });
    mesh.a.signal(Signal::SIGCONT);
    client.tell("go on");
    let ended = client.finish_within(std::time::Duration::from_secs(240));
    let answers: Vec<_> = ended
        .stdout
        .lines()
        .filter(|line| line.contains("getsockname"))
        .collect();
    let wrong = |line: &&&str| line.contains("to-7000") != line.contains("10.88.0.2:7000");
    assert!(!answers.is_empty(), "nobody was answered: {ended}");
    assert_eq!(answers.iter().find(wrong), None, "swapped");
    let second_ones = answers
        .iter()
        .filter(|line| line.contains("to-7001"))
        .count();
    assert!(
        second_ones > 0,
        "no port was used to two destinations: {ended}"
    );
    // Without any redirection nothing could be swapped: it went through the daemon, and not one
    // original destination was lost on the way.
    for record in mesh.a.wait_records(second_ones) {
        assert_ne!(record.reason(), "no-original-destination", "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_address_family_that_the_host_lacks_fails_at_once_so_that_clients_take_the_other() {
    let world = World::pair();
    world
        .a
        .run("sh", &["-c", "ip -6 addr flush scope global"])
        .expect_code(0);
    let to6 = format!("connect={}", world.b.at6(7000));
    let to4 = format!("connect={}", world.b.at(7000));
    let mesh = Mesh::on(world, "tunnel", "", "");
    let _server = mesh.world.b.serve(&[mesh.world.b.at(7000)], &[]);
    let steps = mesh.world.a.script(&[&to6]);
    assert_eq!(steps.of(&to6), Err("ENETUNREACH".to_owned()));
    mesh.a.wait_records(1);
    mesh.world.a.script(&[&to4, "send=hello", "line"]).all_ok();
    let reasons: Vec<_> = mesh
        .a
        .wait_records(2)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    assert_eq!(reasons, ["unreachable", ""]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_applications_dscp_holds_on_the_wire() {
    let mesh = Mesh::tunnel();
    let to = mesh.world.b.at(7000);
    let _server = mesh.world.b.serve(&[to], &[]);
    let connect = format!("connect={to}");
    // Ethernet's type for IPv4, a header without options, DSCP EF.
    let marked = [0x08, 0x00, 0x45, 0xb8];
    for (step, expected) in [("tos=184", true), ("tos=0", false)] {
        let capture = Capture::start(&mesh.world.a);
        mesh.world
            .a
            .script(&["tcp4", step, &connect, "send=hello", "line"])
            .all_ok();
        assert_eq!(capture.stop().contains(marked), expected, "{step}");
    }
    mesh.a.wait_records(2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_mptcp_client_is_redirected_to_what_it_dialled_and_sees_it() {
    let mesh = Mesh::tunnel();
    if !has_mptcp(&mesh.world.a) {
        return;
    }
    let to = mesh.world.b.at(7000);
    let _server = mesh.world.b.serve(&[to], &[]);
    let connect = format!("connect={to}");
    let steps = mesh
        .world
        .a
        .script(&["mptcp", &connect, "names", "send=hello", "line"]);
    assert_eq!(steps.ok("names")["getpeername"], to.to_string());
    assert_eq!(steps.answer(0)["getsockname"], to.to_string());
    let records = mesh.a.wait_records(1);
    assert_eq!(records[0].destination(), to.to_string());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_bound_to_a_device_sends_no_plain_text() {
    let mesh = Mesh::tunnel();
    let to = mesh.world.b.at(7000);
    let _server = mesh.world.b.serve(&[to], &[]);
    let capture = Capture::start(&mesh.world.a);
    let connect = format!("connect={to}");
    mesh.world.a.script(&[
        "tcp4",
        "device=eth0",
        &connect,
        "send=device-secret",
        "line",
    ]);
    capture.stop().expect_no_plaintext("device-secret");
}
