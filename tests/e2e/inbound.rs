//! What an inbound rule lets in, and how fast.

use std::time::{Duration, Instant};

use harness::{Daemon, Flaw, Mesh, Running, World, cgroup::Cgroup, daemon::Setup, peer, rules};

/// A guarded `b`, and an `a` of which one cgroup alone is redirected into a tunnel: the other
/// applications of `a` are strangers.
struct Guarded {
    _a: Daemon,
    b: Daemon,
    tunnelled: Cgroup,
    world: World,
}

impl Guarded {
    fn new(rule: &str) -> Self {
        let world = World::pair();
        let tunnelled = world.a.apps().child("tunnelled");
        let a = Setup::new(&world, &world.a)
            .intercept(&tunnelled)
            .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
            .start();
        let b = Setup::new(&world, &world.b).with(rule).start();
        Self {
            _a: a,
            b,
            tunnelled,
            world,
        }
    }

    /// What a tunnelled client was answered.
    fn tunnel(&self, steps: &[&str]) -> String {
        let connect = format!("connect={}", self.world.b.at(7000));
        let mut command = self
            .world
            .a
            .command_in(self.tunnelled.path(), peer::binary());
        command.args(["script", &connect]).args(steps);
        Running::spawn(command).finish().stdout
    }

    /// What a client with a certificate was answered.
    fn mtls(&self) -> String {
        let credential = self.world.pki.credential('a', Flaw::None);
        let to = self.world.b.at(7000);
        self.world.a.openssl_answer(to, &credential, "hello")
    }

    /// What a client in plain text was answered.
    fn plain(&self, steps: &[&str]) -> String {
        let connect = format!("connect={}", self.world.b.at(7000));
        let args = [&["script", &connect], steps].concat();
        self.world.a.peer(&args).finish().stdout
    }
}

fn answered(said: &str) -> bool {
    said.contains("getsockname")
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_rule_lets_in_exactly_what_it_accepts() {
    for (tunnel, mtls, plain) in [
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (true, false, true),
        (false, true, true),
        (true, true, true),
    ] {
        let listed: Vec<_> = [
            (tunnel, "\"tunnel\""),
            (mtls, "\"mtls\""),
            (plain, "\"plain\""),
        ]
        .into_iter()
        .filter_map(|(listed, word)| listed.then_some(word))
        .collect();
        let accept = format!("[{}]", listed.join(", "));
        // However long a busy machine takes for the first byte: plain text is what has none by then.
        let detect = if plain { "detect = \"10s\"\n" } else { "" };
        let rule = rules::inbound(&accept, "spiffe://example.org/a") + detect;
        let guarded = Guarded::new(&rule);
        let _server = guarded
            .world
            .b
            .serve(&[guarded.world.b.at(7000)], &["--quiet"]);
        let ask = ["send=hello", "line"];
        assert_eq!(
            answered(&guarded.tunnel(&ask)),
            tunnel,
            "a tunnel to accept = {accept}"
        );
        assert_eq!(
            answered(&guarded.plain(&ask)),
            plain,
            "plain text to accept = {accept}"
        );
        // Where plain text is accepted and mTLS is not, the bytes are the application's own TLS.
        if mtls || !plain {
            assert_eq!(answered(&guarded.mtls()), mtls, "mTLS to accept = {accept}");
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_applications_own_tls_passes_where_plain_text_is_accepted() {
    let guarded = Guarded::new(&rules::inbound(
        r#"["tunnel", "plain"]"#,
        "spiffe://example.org/a",
    ));
    // Of an authority that the daemon does not know: if it judged this, it would refuse.
    let own = guarded.world.pki.credential('b', Flaw::WrongCa);
    let mut server = guarded.world.b.openssl_server(7000, &own, &["-tls1_2"]);
    let to = guarded.world.b.at(7000);
    let client = guarded
        .world
        .a
        .openssl_client_until(to, None, &[], "own TLS", || {
            server.line("the line", |line| (line == "own TLS").then_some(()));
        });
    drop(client);
    let record = guarded.b.only_record();
    assert_eq!(
        (record.carriage(), record.reason()),
        ("plain", ""),
        "{record}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn plain_from_lets_in_its_prefixes_alone() {
    let rule = rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a")
        + "plain_from = [\"10.88.0.9/32\"]\n";
    let guarded = Guarded::new(&rule);
    guarded
        .world
        .a
        .netns()
        .ip(&["addr", "add", "10.88.0.9/24", "dev", "eth0"]);
    let _server = guarded.world.b.serve(&[guarded.world.b.at(7000)], &[]);
    let connect = format!("connect={}", guarded.world.b.at(7000));
    let from = |source: &str| {
        let bind = format!("bind={source}:0");
        guarded
            .world
            .a
            .script(&["tcp4", &bind, &connect, "send=hello", "line"])
    };
    let answer = from("10.88.0.9").all_ok().answer(0);
    assert!(
        answer["accept"].as_str().unwrap().starts_with("10.88.0.9:"),
        "{answer}"
    );
    let refused = from("10.88.0.1");
    assert!(!answered(&format!("{refused:?}")), "{refused:?}");
    guarded
        .b
        .wait_for_records("the refusal of the other", |records| {
            records.iter().any(|record| record.reason() == "plaintext")
        });
    assert!(answered(&guarded.tunnel(&["send=hello", "line"])));
}

/// The server speaks first: nobody may wait for the client's first byte for longer than `limit`.
#[track_caller]
fn greets(rule: &str, limit: Duration, greeted: impl FnOnce(&Guarded) -> String) {
    let guarded = Guarded::new(rule);
    let _server = guarded
        .world
        .b
        .serve(&[guarded.world.b.at(7000)], &["--mode", "greet"]);
    let started = Instant::now();
    let said = greeted(&guarded);
    let took = started.elapsed();
    assert!(answered(&said), "no greeting came: {said}");
    assert!(took < limit, "the greeting took {took:?}");
    guarded.b.wait_records(1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_that_speaks_first_is_heard_at_once_through_a_tunnel() {
    let slow =
        rules::inbound(r#"["tunnel", "plain"]"#, "spiffe://example.org/a") + "detect = \"10s\"\n";
    greets(&slow, Duration::from_secs(5), |guarded| {
        guarded.tunnel(&["line"])
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_that_speaks_first_is_heard_in_plain_text_after_the_detection_budget() {
    let rule =
        rules::inbound(r#"["tunnel", "plain"]"#, "spiffe://example.org/a") + "detect = \"100ms\"\n";
    greets(&rule, Duration::from_secs(5), |guarded| {
        guarded.plain(&["line"])
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_that_speaks_first_is_heard_in_plain_text_where_detection_is_off() {
    let rule =
        rules::inbound(r#"["tunnel", "plain"]"#, "spiffe://example.org/a") + "detect = \"off\"\n";
    greets(&rule, Duration::from_secs(5), |guarded| {
        guarded.plain(&["line"])
    });
    greets(&rules::inbound_plain(), Duration::from_secs(5), |guarded| {
        guarded.plain(&["line"])
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn proxy_protocol_tells_the_application_the_clients_address() {
    let rule =
        rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a") + "source = \"proxy-protocol\"\n";
    let guarded = Guarded::new(&rule);
    let mut server = guarded
        .world
        .b
        .serve(&[guarded.world.b.at(7000)], &["--mode", "sink"]);
    guarded.tunnel(&["send=hello", "shutdown", "rest"]);
    let end = server.event("ended")["end"].clone();
    let first = end["first"]
        .as_str()
        .unwrap_or_else(|| panic!("no header: {end}"));
    // PROXY protocol v2, section 2.2: the signature, version 2 and PROXY, TCP over IPv4.
    assert!(first.starts_with("0d0a0d0a000d0a515549540a2111"), "{first}");
    assert!(
        first[32..].starts_with("0a5800010a580002"),
        "source and destination: {first}"
    );
    assert!(first.ends_with("1b58"), "the destination's port: {first}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_shows_an_application_that_listens_outside_the_attach_point() {
    let mesh = Mesh::tunnel();
    let b = &mesh.world.b;
    let _inside = b.serve(&[b.at(7000)], &[]);
    // Made in no governed cgroup: getpeername() could not show it who connects.
    let _outside = b.in_netns(|| std::net::TcpListener::bind(b.at(7001)).expect("listen"));
    let ports = mesh.b.ask("status")["ports"].clone();
    let seen = |port: u16| {
        let ports = ports.as_array().cloned().unwrap_or_default();
        ports.into_iter().find(|found| found["port"] == port)
    };
    let inside = seen(7000).unwrap_or_else(|| panic!("{ports}"));
    let outside = seen(7001).unwrap_or_else(|| panic!("{ports}"));
    assert_eq!(
        (&inside["listening"], &inside["elsewhere"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        (&outside["listening"], &outside["elsewhere"]),
        (&0.into(), &1.into())
    );
}
