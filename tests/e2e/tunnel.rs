//! Tunnels between two daemons under load, and with an end that hangs.

use harness::{
    Daemon, Flaw, Mesh, Record, Running, World, daemon::Setup, holds, load, peer::parse, rules,
    until,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ANOTHER: &str = "spiffe://example.org/somebody-else";

/// Port 7000 between the hosts' own identities, port 7001 between two others.
fn two_identities(world: &World) -> (Daemon, Daemon) {
    let identity = |letter| {
        let other = world.pki.credential(letter, Flaw::WrongIdentity);
        format!(
            "[identity.other]\ncertificate = {:?}\nprivate_key = {:?}\n",
            other.certificate.display(),
            other.key.display()
        )
    };
    let rule = |toml: String, other: bool| {
        let (name, port) = if other {
            ("second", "7001")
        } else {
            ("first", "7000")
        };
        let toml = toml
            .replace(rules::PORTS, port)
            .replace("name = \"in\"", &format!("name = \"{name}\""))
            .replace("name = \"out\"", &format!("name = \"{name}\""));
        if other {
            toml.replace("\"own\"", "\"other\"")
        } else {
            toml
        }
    };
    let inbound = |allow| rules::inbound(r#"["tunnel"]"#, allow);
    let outbound = |expect| rules::outbound_mtls("tunnel", expect);
    let b = Setup::new(world, &world.b)
        .with(identity('b'))
        .with(rule(inbound("spiffe://example.org/a"), false))
        .with(rule(inbound(ANOTHER), true))
        .start();
    let a = Setup::new(world, &world.a)
        .with(identity('a'))
        .with(rule(outbound("spiffe://example.org/b"), false))
        .with(rule(outbound(ANOTHER), true))
        .start();
    (a, b)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_storm_of_connections_of_two_identities_mixes_and_loses_no_byte() {
    let world = World::pair();
    let (mut a, mut b) = two_identities(&world);
    let ports = [world.b.at(7000), world.b.at(7001)];
    let mut server = world.b.serve(&ports, &["--mode", "storm", "--quiet"]);
    let run = |count: u64, seed: u64| {
        let [first, second] = ports.map(|port| port.to_string());
        let (count, seed) = (count.to_string(), seed.to_string());
        let words = ["--count", &count, "--seed", &seed, "--parallel", "48"];
        let to = ["storm", "--to", &first, "--to", &second];
        world.a.peer_report(&[&to[..], &words].concat())
    };
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    println!("seed {seed}");
    run(200, 1);
    let (mut before_a, mut before_b) = (a.holdings(), b.holdings());
    // Idle tunnels are kept on purpose: one descriptor each.
    before_a.descriptors += 128;
    before_b.descriptors += 128;
    let warm = server.totals().1;
    let count = load(30_000);
    let report = run(count, seed);
    println!("{report}");
    assert_eq!(report["bad"], serde_json::json!([]), "{report}");
    let clean = report["clean"].as_u64().unwrap();
    assert_eq!(clean + report["cut"].as_u64().unwrap(), count, "{report}");
    holds("the server, too, saw each of those end in order", || {
        server.totals().1 - warm == clean
    });
    assert!(
        server.events("wrong").is_empty(),
        "{:?}",
        server.events("wrong")
    );
    let records = a.wait_records((count + 200) as usize);
    let whole = records.iter().filter(|record| record.reason().is_empty());
    assert!(whole.count() as u64 >= clean, "a record of each");
    for record in &records {
        let other = record.destination().ends_with(":7001");
        assert_eq!(record.own_identity() == ANOTHER, other, "{record}");
        assert!(
            ["", "reset", "tunnel-lost"].contains(&record.reason()),
            "{record}"
        );
    }
    a.wait_holdings(&before_a);
    b.wait_holdings(&before_b);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reset_is_noticed_while_both_applications_are_stalled() {
    for wire in ["tunnel", "tls"] {
        let mesh = Mesh::with(wire, "", "");
        let b = &mesh.world.b;
        let mut server = b.serve(&[b.at(7000)], &["--mode", "jam", "--quiet"]);
        let to = b.at(7000).to_string();
        let mut client = mesh.world.a.peer(&["flood", "--to", &to]);
        client.line("it is stuck", |line| line.contains("\"all\"").then_some(()));
        assert_eq!(server.event("flooded")["end"], "stuck", "{wire}");
        client.tell("reset");
        let of_a = mesh.a.only_record();
        assert_eq!(of_a.reason(), "reset", "{wire}: {of_a}");
        let of_b = mesh.b.only_record();
        assert!(
            ["reset", "tunnel-lost"].contains(&of_b.reason()),
            "{wire}: {of_b}"
        );
        holds("the server's socket is gone, too", || {
            let sockets = b.run("ss", &["-Htn", "state", "established"]);
            !sockets.stdout.contains(":7000")
        });
    }
}

fn hello(world: &World) -> harness::peer::Steps {
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"])
}

fn signal(server: &harness::peer::Server, signal: Signal) {
    kill(Pid::from_raw(server.pid()), signal).unwrap();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_whose_backlog_is_full_ends_the_lease_by_its_time_and_spares_the_tunnel() {
    let world = World::pair();
    world.b.sysctl("net/core/somaxconn", "1");
    let limits = "[limits]\nconnect_timeout = \"1s\"\n";
    let mesh = Mesh::on(world, "tunnel", "", limits);
    let server = mesh.world.b.serve(&[mesh.world.b.at(7000)], &["--quiet"]);
    hello(&mesh.world).all_ok();
    signal(&server, Signal::SIGSTOP);
    let connect = format!("connect={}", mesh.world.b.at(7000));
    let waiting: Vec<Running> = (0..6)
        .map(|_| {
            mesh.world
                .a
                .peer(&["script", &connect, "send=hello", "line"])
        })
        .collect();
    // Some are in the backlog; for the others there is no place, and their SYN gets no answer.
    mesh.b.wait_for_records("dials that hung", |records| {
        records
            .iter()
            .any(|record| record.reason() == "connect-timeout")
    });
    mesh.a.wait_for_records("their clients", |records| {
        records
            .iter()
            .any(|record| record.reason() == "peer-refused")
    });
    signal(&server, Signal::SIGCONT);
    for client in waiting {
        client.finish().expect_code(0);
    }
    let before = mesh.a.wait_records(7).len();
    until("the server takes connections again", || {
        hello(&mesh.world)
            .of("line")
            .ok()
            .filter(|line| *line != "")
    });
    // Those that came too early are refused, and recorded in whatever order.
    let carried = |record: &Record| record.reason().is_empty();
    let records = mesh
        .a
        .wait_for_records("the one that was carried", |records| {
            records[before..].iter().any(carried)
        });
    let record = records[before..].iter().find(|record| carried(record));
    assert_eq!(record.unwrap().carriage(), "tunnel-reused");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_peer_that_hangs_with_an_idle_tunnel_ends_the_connection_by_its_time() {
    let limits = "[limits]\nconnect_timeout = \"1s\"\nhandshake_timeout = \"1s\"\n";
    let world = World::pair();
    // Longer than the test: what is taken for dead does not even take connections.
    let b = Setup::new(&world, &world.b)
        .heartbeat("1min")
        .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
        .start();
    let a = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .with(limits)
        .start();
    let mut mesh = Mesh { a, b, world };
    let _server = mesh.world.b.serve(&[mesh.world.b.at(7000)], &["--quiet"]);
    hello(&mesh.world).all_ok();
    mesh.a.wait_records(1);
    mesh.b.signal(Signal::SIGSTOP);
    // The first takes the idle tunnel, the second makes a connection of its own.
    for (count, reason) in [(2, "connect-timeout"), (3, "handshake-timeout")] {
        assert_eq!(hello(&mesh.world).of("line"), Err("ECONNRESET".to_owned()));
        let record = mesh.a.wait_records(count)[count - 1].clone();
        assert_eq!(record.reason(), reason, "{record}");
    }
    mesh.b.signal(Signal::SIGCONT);
    hello(&mesh.world).all_ok();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_host_that_does_not_answer_ends_the_connection_by_its_time() {
    let limits = "[limits]\nconnect_timeout = \"500ms\"\n";
    let mesh = Mesh::with("tunnel", limits, "");
    let steps = mesh
        .world
        .a
        .script(&["connect=10.88.0.99:7000", "send=hello", "line"]);
    assert_eq!(steps.of("line"), Err("ECONNRESET".to_owned()), "{steps:?}");
    let record = mesh.a.only_record();
    assert_eq!(record.reason(), "connect-timeout", "{record}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn namespaces_with_equal_addresses_share_no_tunnel_and_no_record() {
    let meshes = [Mesh::tunnel(), Mesh::tunnel()];
    let servers = meshes
        .each_ref()
        .map(|mesh| mesh.world.b.serve(&[mesh.world.b.at(7000)], &[]));
    for count in 1..=3 {
        for mesh in &meshes {
            hello(&mesh.world).all_ok();
            // It comes with the end, which the next one's could come before.
            mesh.a.wait_records(count);
            mesh.b.wait_records(count);
        }
    }
    let ids = |daemon: &Daemon| {
        let records = daemon.wait_records(3);
        assert_eq!(records.len(), 3, "its own alone: {records:#?}");
        let carried: Vec<_> = records.iter().map(|record| record.carriage()).collect();
        assert_eq!(carried, ["tunnel-new", "tunnel-reused", "tunnel-reused"]);
        records
            .iter()
            .map(|record| record.id().to_owned())
            .collect::<Vec<_>>()
    };
    let seen = meshes.each_ref().map(|mesh| {
        let (at_a, at_b) = (ids(&mesh.a), ids(&mesh.b));
        assert_eq!(at_a, at_b, "one connection has one id at both ends");
        at_a
    });
    assert!(seen[0].iter().all(|id| !seen[1].contains(id)));
    assert!(servers.iter().all(|server| server.accepted().len() == 3));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_from_another_namespace_is_refused_by_a_tls_rule_and_uses_no_tunnel() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let _server = b.serve(&[b.at(7000)], &["--quiet"]);
    hello(&mesh.world).all_ok();
    mesh.a.wait_records(1);
    // Governed as an application of a's daemon, in the namespace of b with its addresses.
    let to = format!("connect={}", a.at(7000));
    let mut stranger = b.command_in(a.apps().path(), harness::peer::binary());
    stranger.args(["script", &to, "send=hello"]);
    let ended = Running::spawn(stranger).finish();
    let first = ended.stdout.lines().find_map(parse).unwrap();
    assert_eq!(first["errno"], "EHOSTDOWN", "{ended}");
    let record = mesh.a.wait_records(2)[1].clone();
    assert_eq!(record.reason(), "other-namespace", "{record}");
    assert_eq!(record.carriage(), "", "{record}");
}
