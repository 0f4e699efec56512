//! Peers with a good certificate that claim what is not theirs, and tickets where they do not
//! belong.

use std::net::{IpAddr, SocketAddr};

use harness::{Credential, Daemon, Flaw, Host, Running, World, daemon::Setup, rules, until};
use nix::sys::signal::Signal;

/// The frames of `proxy/TUNNEL.md`, written anew from that page.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], payload].concat()
}

fn open(lease: u32, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let both_v4 = source.is_ipv4() && destination.is_ipv4();
    let octets = |addr: SocketAddr| match (addr.ip(), both_v4) {
        (IpAddr::V4(v4), true) => v4.octets().to_vec(),
        (IpAddr::V4(v4), false) => v4.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(v6), _) => v6.octets().to_vec(),
    };
    let addresses = [
        octets(source),
        octets(destination),
        source.port().to_be_bytes().to_vec(),
        destination.port().to_be_bytes().to_vec(),
    ]
    .concat();
    let header = [
        b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
        &[0x21, if both_v4 { 0x11 } else { 0x21 }],
        &(addresses.len() as u16).to_be_bytes(),
        &addresses,
    ]
    .concat();
    frame(1, &[&lease.to_be_bytes()[..], &[7; 16], &header].concat())
}

fn eof(lease: u32) -> Vec<u8> {
    frame(4, &lease.to_be_bytes())
}

fn reset(lease: u32, code: u8) -> Vec<u8> {
    frame(5, &[&lease.to_be_bytes()[..], &[code]].concat())
}

/// Sends `bytes` in a tunnel of its own, with a good certificate, and keeps it open. What comes
/// back is written to the file.
fn tunnel(
    host: &Host,
    to: SocketAddr,
    own: &Credential,
    bytes: &[u8],
) -> (Running, std::path::PathBuf) {
    let sent = host.dir().join("frames");
    std::fs::write(&sent, bytes).unwrap();
    let got = host.dir().join("answers");
    let script = format!(
        "exec openssl s_client -connect {to} -cert {} -key {} -alpn sidetrack/1 -quiet < {} > {}",
        own.certificate.display(),
        own.key.display(),
        sent.display(),
        got.display()
    );
    (host.spawn("sh", &["-c", &script]), got)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_peer_that_lies_in_open_is_refused_each_time_and_reaches_no_application() {
    let world = World::pair();
    let (here, peer) = (world.b.at(7000), "10.88.0.1:40000");
    let may_claim = r#"may_claim = { "spiffe://example.org/a" = ["10.2.0.0/16", "10.88.0.0/24"] }"#;
    let inbound = rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a");
    let b = Setup::new(&world, &world.b)
        .with(inbound + may_claim)
        .start();
    let server = world.b.serve(&[here, world.b.at(7001)], &[]);
    let own = here.to_string();
    let mut lies = Vec::new();
    for destination in [
        "10.88.0.2:7001",
        "10.88.0.1:7000",
        "10.88.0.3:7000",
        "127.0.0.1:7000",
        "0.0.0.0:7000",
        "224.0.0.1:7000",
        "[::1]:7000",
        "[::]:7000",
        "[fd88::2]:7000",
        "[ff02::1]:7000",
        "[::ffff:127.0.0.1]:7000",
        "[::ffff:0.0.0.0]:7000",
        "[::ffff:10.88.0.1]:7000",
    ] {
        lies.push((peer, destination, "wrong-destination"));
    }
    for source in [
        "10.3.0.1:5",
        "127.0.0.1:5",
        "127.77.0.1:5",
        // Granted, but of this host.
        "10.88.0.2:5",
        "0.0.0.0:5",
        "224.0.0.1:5",
        "255.255.255.255:5",
        "10.2.3.4:0",
        "[::1]:5",
        "[::]:5",
        "[fd88::2]:5",
        "[ff02::1]:5",
        "[::ffff:127.0.0.1]:5",
        "[::ffff:10.88.0.2]:5",
        "[::ffff:0.0.0.0]:5",
        "[::ffff:224.0.0.1]:5",
        "[::ffff:10.3.0.1]:5",
    ] {
        lies.push((source, own.as_str(), "source-not-granted"));
    }
    let (mut sent, mut answers) = (Vec::new(), Vec::new());
    for (number, (source, destination, _)) in (1..).zip(&lies) {
        sent.extend(open(
            number,
            source.parse().unwrap(),
            destination.parse().unwrap(),
        ));
        sent.extend(reset(number, 0));
        answers.extend(reset(number, 1));
    }
    // The truth, on the same tunnel.
    let last = lies.len() as u32 + 1;
    sent.extend(open(last, "[::ffff:10.2.3.4]:5".parse().unwrap(), here));
    sent.extend(frame(3, b"it is me\n"));
    sent.extend(eof(last));
    let credential = world.pki.credential('a', Flaw::None);
    let (_client, got) = tunnel(&world.a, here, &credential, &sent);
    let records = b.wait_records(lies.len() + 1);
    for ((source, destination, reason), record) in lies.iter().zip(&records) {
        assert_eq!(
            record.reason(),
            *reason,
            "{source} to {destination}: {record}"
        );
        assert!(
            record.source().starts_with("10.88.0.1:"),
            "a claim that was not believed: {record}"
        );
        assert_eq!(record.destination(), own, "{record}");
    }
    assert_eq!(
        records[lies.len()].source(),
        "10.2.3.4:5",
        "{:?}",
        records[lies.len()]
    );
    assert_eq!(
        server.accepted().len(),
        1,
        "the application saw the truth alone"
    );
    assert_eq!(server.accepted()[0]["accept"], "10.2.3.4:5");
    let got = until("the last answer", || {
        let got = std::fs::read(&got).ok()?;
        got.ends_with(&eof(last)).then_some(got)
    });
    assert!(got.starts_with(&answers), "each lie is answered by RESET");
}

/// `identity` for [`PORTS`](rules::PORTS) and two more, each with a rule of its own.
fn three_rules(world: &World) -> Setup {
    let rule = |name: &str, port: u16, allow: &str| {
        let allow = format!("spiffe://example.org/{allow}");
        rules::inbound(r#"["mtls"]"#, &allow)
            .replace(rules::PORTS, &port.to_string())
            .replace("\"in\"", &format!("\"{name}\""))
    };
    Setup::new(world, &world.b)
        .with(rule("first", 7000, "a"))
        .with(rule("second", 7100, "a"))
        .with(rule("third", 7200, "somebody-else"))
}

/// Connects with `more`; answers whether the session was a resumed one. `None` if it was refused.
fn resumed(world: &World, port: u16, own: &Credential, more: &[&str]) -> Option<bool> {
    let to = world.b.at(port).to_string();
    let (certificate, key) = (
        own.certificate.display().to_string(),
        own.key.display().to_string(),
    );
    let words = [
        "s_client",
        "-connect",
        &to,
        "-cert",
        &certificate,
        "-key",
        &key,
    ];
    let mut client = world.a.spawn("openssl", &[&words[..], more].concat());
    client.tell("hello");
    until("an answer or the end", || {
        let said = client.stdout().join("\n");
        if said.contains("getsockname") {
            return Some(Some(said.contains("Reused, TLSv1.3")));
        }
        client.has_ended().then_some(None)
    })
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_ticket_is_good_for_the_rule_and_the_generation_that_gave_it_alone() {
    let world = World::pair();
    let mut daemon = three_rules(&world).start();
    let ports = [7000, 7100, 7200].map(|port| world.b.at(port));
    let server = world.b.serve(&ports, &[]);
    let own = world.pki.credential('a', Flaw::None);
    let session = world.a.dir().join("session").display().to_string();
    assert_eq!(
        resumed(&world, 7000, &own, &["-sess_out", &session]),
        Some(false)
    );
    let ticket = ["-sess_in", session.as_str()];
    assert_eq!(
        resumed(&world, 7000, &own, &ticket),
        Some(true),
        "the test's own proof"
    );
    assert_eq!(
        resumed(&world, 7100, &own, &ticket),
        Some(false),
        "another rule"
    );
    assert_eq!(resumed(&world, 7200, &own, &ticket), None, "another's rule");
    let record = daemon.wait_for_records("a refusal", |records| {
        records.iter().any(|record| !record.reason().is_empty())
    });
    let refused = record
        .iter()
        .find(|record| record.rule() == "third")
        .unwrap();
    assert_eq!(refused.reason(), "not-allowed", "{refused}");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
    assert_eq!(
        resumed(&world, 7000, &own, &ticket),
        Some(false),
        "before a reload"
    );
    assert_eq!(server.accepted().len(), 4);
}

/// Two rules of `a` to one server, told apart by the cgroup of the client.
fn two_identities(world: &World, cgroups: [&str; 2]) -> Daemon {
    let other = world.pki.credential('a', Flaw::WrongIdentity);
    let identity = format!(
        "[identity.other]\ncertificate = {:?}\nprivate_key = {:?}\n",
        other.certificate.display(),
        other.key.display()
    );
    let rule = |name: &str, identity: &str, cgroup: &str| {
        let select = format!("[select.{name}]\ninclude = [{{ cgroup = {cgroup:?} }}]\n");
        let rule = rules::outbound_mtls("tls", "spiffe://example.org/b")
            .replace("\"out\"", &format!("\"{name}\"\nselect = \"{name}\""))
            .replace("\"own\"", &format!("\"{identity}\""));
        select + &rule
    };
    Setup::new(world, &world.a)
        .with(identity)
        .with(rule("first", "own", cgroups[0]))
        .with(rule("second", "other", cgroups[1]))
        .start()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_session_of_one_identity_is_not_resumed_by_another() {
    let world = World::pair();
    let cgroups = [
        world.a.apps().child("first"),
        world.a.apps().child("second"),
    ];
    let names = [cgroups[0].name(), cgroups[1].name()];
    let _daemon = two_identities(&world, [&names[0], &names[1]]);
    let own = world.pki.credential('b', Flaw::None);
    let bundle = world.pki.bundle().display().to_string();
    let _server = world
        .b
        .openssl_server(7000, &own, &["-www", "-Verify", "1", "-CAfile", &bundle]);
    let connect = format!("connect={}", world.b.at(7000));
    let steps = ["script", &connect, "send=GET / HTTP/1.0", "send=", "rest"];
    let resumed = |which: usize| {
        let mut client = world
            .a
            .command_in(cgroups[which].path(), harness::peer::binary());
        client.args(steps);
        let said = Running::spawn(client).finish().expect_code(0).stdout;
        assert!(
            said.contains("New, TLSv1.3") || said.contains("Reused, TLSv1.3"),
            "{said}"
        );
        said.contains("Reused, TLSv1.3")
    };
    assert!(!resumed(0));
    assert!(resumed(0), "the test's own proof");
    assert!(!resumed(1), "the other identity's");
    assert!(resumed(1));
    assert!(resumed(0));
}
