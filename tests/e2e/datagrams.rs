//! UDP: denied or let through by rules, and counted where no rule is about it.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use harness::{
    Host, Mesh, World,
    daemon::{Daemon, Setup},
    rules,
};

/// What arrives at an address, for a socket that nothing governs.
struct Receiver {
    socket: UdpSocket,
    at: SocketAddr,
    from: Host,
}

impl Receiver {
    fn new(host: &Host, at: SocketAddr, from: &Host) -> Self {
        let socket = host.in_netns(|| UdpSocket::bind(at).expect("make a socket"));
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("set a timeout");
        let from = from.clone();
        Self { socket, at, from }
    }

    fn next(&self) -> String {
        let mut bytes = [0; 64];
        let length = self.socket.recv(&mut bytes).expect("a datagram comes");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Panics if anything has arrived but what this sends now, past every rule.
    #[track_caller]
    fn expect_nothing(&self) {
        let far = self.at;
        let any = if far.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let outside = self.from.in_netns(|| UdpSocket::bind(any).expect("make"));
        outside.send_to(b"last", far).expect("send past the rules");
        assert_eq!(self.next(), "last", "{far} got something before");
    }
}

fn counted(daemon: &Daemon, counter: &str) -> u64 {
    daemon.ask("status")["counters"][counter]
        .as_u64()
        .unwrap_or_else(|| panic!("there is no counter {counter}"))
}

#[track_caller]
fn denied(host: &Host, steps: &[&str], errno: &str) {
    let said = host.script(steps);
    let last = steps.last().expect("there is one");
    assert_eq!(said.of(last), Err(errno.to_owned()), "{steps:?}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn udp_to_a_destination_of_an_mtls_rule_is_denied_however_it_is_sent() {
    let world = World::pair();
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .start();
    let (a, b) = (&world.a, &world.b);
    let receivers = [b.at(7000), b.at6(7000)].map(|at| Receiver::new(b, at, a));
    let ways = [
        ("udp4", b.at(7000)),
        ("udp6", b.at6(7000)),
        ("udp6", b.at(7000)),
    ];
    for (socket, to) in ways {
        for verb in ["sendto", "connect"] {
            denied(a, &[socket, &format!("{verb}={to}")], "EPERM");
        }
        // Of a socket that is connected to where it may go, too.
        let (fine, forbidden) = (SocketAddr::new(to.ip(), 6999), format!("sendto={to}"));
        denied(
            a,
            &[socket, &format!("connect={fine}"), &forbidden],
            "EPERM",
        );
    }
    let records = daemon.wait_records(9);
    for record in &records {
        let seen = (record.protocol(), record.rule(), record.reason());
        assert_eq!(seen, ("udp", "out", "denied-by-rule"), "{record}");
        assert!(record.destination().ends_with(":7000"), "{record}");
    }
    assert_eq!(counted(&daemon, "udp_denied"), 9);
    assert_eq!(records.len(), 9);
    receivers.iter().for_each(Receiver::expect_nothing);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_that_prefers_quic_falls_back_to_tcp_at_once() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    for to in [b.at(7000), b.at6(7000)] {
        let _server = b.serve(&[to], &[]);
        let _quic = Receiver::new(b, to, a);
        let udp = if to.is_ipv4() { "udp4" } else { "udp6" };
        let connect = format!("connect={to}");
        let steps = [udp, &connect, "slot=1", &connect, "send=hello", "line"];
        let steps = a.script(&steps);
        // An errno of connect() itself: nobody waits for an answer that does not come.
        assert_eq!(steps.nth(&connect, 0), Err("EPERM".into()), "over UDP");
        assert_eq!(steps.answer(0)["line"], "hello", "over TCP");
    }
    let carried = mesh.a.wait_for_records("the connections", |records| {
        records
            .iter()
            .filter(|record| record.protocol().is_empty())
            .count()
            == 2
    });
    let tcp = carried.iter().filter(|record| record.protocol().is_empty());
    tcp.for_each(|record| assert!(record.carriage().starts_with("tunnel"), "{record}"));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_rule_about_udp_lets_it_pass_beside_an_mtls_rule() {
    let mtls = rules::outbound_mtls("tunnel", "spiffe://example.org/b");
    let beside = "[[outbound]]\nname = \"dns\"\nto = [\"10.88.0.0/24\", \"fd88::/64\"]\n\
                  ports = [\"7000\"]\nprotocol = \"udp\"\naction = \"passthrough\"\n";
    let denied_port = "[[outbound]]\nname = \"no\"\nto = [\"10.88.0.0/24\"]\nports = [\"6998\"]\n\
                       protocol = \"udp\"\naction = \"deny\"\n";
    for toml in [format!("{mtls}udp = \"pass\"\n"), format!("{mtls}{beside}")] {
        let world = World::pair();
        let daemon = Setup::new(&world, &world.a)
            .with(toml)
            .with(denied_port)
            .start();
        let (a, b) = (&world.a, &world.b);
        for (socket, to) in [
            ("udp4", b.at(7000)),
            ("udp6", b.at6(7000)),
            ("udp6", b.at(7000)),
        ] {
            let receiver = Receiver::new(b, to, a);
            a.script(&[socket, &format!("sendto={to}")]).all_ok();
            assert_eq!(receiver.next(), "datagram");
            a.script(&[socket, &format!("connect={to}"), "datagram", "datagram"])
                .all_ok();
            assert_eq!([receiver.next(), receiver.next()], ["datagram", "datagram"]);
        }
        // A connected socket counts once, unless it is an IPv6 socket that is connected to IPv4: for
        // each datagram of such a one the kernel judges its address.
        assert_eq!(counted(&daemon, "udp_passed"), 8);
        // The record of a denial comes after those of the others, if they had any.
        denied(a, &["udp4", &format!("sendto={}", b.at(6998))], "EPERM");
        assert_eq!(daemon.only_record().rule(), "no");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn other_protocols_to_a_destination_that_is_ruled_for_tcp_alone_pass_and_are_counted() {
    let world = World::pair();
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let (a, b) = (&world.a, &world.b);
    let to = b.at(7000);
    let receiver = Receiver::new(b, to, a);
    let beside = format!("sendto={}", b.at(6999));
    a.script(&["udp4", &beside, &format!("sendto={to}")])
        .all_ok();
    assert_eq!(receiver.next(), "datagram");
    assert_eq!(
        counted(&daemon, "udp_unruled"),
        1,
        "not the one to another port"
    );
    assert_eq!(counted(&daemon, "other_protocol"), 0);
    a.script(&["udplite4", &format!("sendto={to}")]).all_ok();
    assert_eq!(counted(&daemon, "other_protocol"), 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_deny_rule_fails_udp_with_its_errno_and_leaves_loopback_alone() {
    let world = World::pair();
    let _daemon = Setup::new(&world, &world.a)
        .with("[[outbound]]\nname = \"no\"\naction = \"deny\"\nerrno = \"ECONNREFUSED\"\n")
        .start();
    let (a, b) = (&world.a, &world.b);
    for (socket, to) in [("udp4", b.at(53)), ("udp6", b.at6(53)), ("udp6", b.at(53))] {
        for verb in ["sendto", "connect"] {
            denied(a, &[socket, &format!("{verb}={to}")], "ECONNREFUSED");
        }
    }
    for (socket, to) in [
        ("udp4", "127.0.0.1:53"),
        ("udp6", "[::1]:53"),
        ("udp4", "0.0.0.0:53"),
    ] {
        a.script(&[socket, &format!("sendto={to}")]).all_ok();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_that_sends_without_end_is_counted_and_leaves_a_bounded_number_of_records() {
    let world = World::pair();
    let daemon = Setup::new(&world, &world.a)
        .with("[[outbound]]\nname = \"no\"\naction = \"deny\"\n")
        .start();
    let (a, b) = (&world.a, &world.b);
    let to = |port| format!("sendto={}", b.at(port));
    let again = vec![to(7000); 50];
    let steps: Vec<&str> = std::iter::once("udp4")
        .chain(again.iter().map(String::as_str))
        .collect();
    a.script(&steps);
    assert_eq!(daemon.only_record().protocol(), "udp");
    assert_eq!(counted(&daemon, "udp_denied"), 50);
    let everywhere: Vec<String> = (7001..7051).map(to).collect();
    let steps: Vec<&str> = std::iter::once("udp4")
        .chain(everywhere.iter().map(String::as_str))
        .collect();
    a.script(&steps);
    // Of another socket, the last to be told of.
    denied(a, &["udp4", &to(9)], "EPERM");
    let records = daemon.wait_for_records("the last one", |records| {
        records
            .iter()
            .any(|record| record.destination().ends_with(":9"))
    });
    assert_eq!(records.len(), 1 + 16 + 1);
    assert_eq!(counted(&daemon, "udp_denied"), 101);
}
