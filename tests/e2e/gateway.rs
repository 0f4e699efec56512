//! Connections that another host makes in this one's place.

use std::net::SocketAddr;

use harness::{Beyond, Capture, Credential, Daemon, Flaw, World, daemon::Setup};
use nix::sys::signal::Signal;

mod behind_nat;
mod own_host;

const A: &str = "spiffe://example.org/a";

/// `a` reaches what is beyond `b` through the gateway on `b`, and has no route there itself.
struct Gateway {
    a: Daemon,
    b: Daemon,
    beyond: Beyond,
    world: World,
}

fn setup_a(world: &World, gateways: &str) -> Setup {
    Setup::new(world, &world.a).with(format!(
        r#"
[upstream.edge]
addresses = [{gateways}]
expect = ["spiffe://example.org/b"]
[[outbound]]
name = "out"
to = ["10.99.0.0/24", "fd99::/64", "10.88.0.0/24"]
ports = ["7000-7999"]
action = "gateway"
gateway = "edge"
identity = "own"
"#
    ))
}

fn setup_b(world: &World, egress: &str) -> Setup {
    Setup::new(world, &world.b).with(format!(
        "[gateway]\nlisten = \"[::]:15443\"\nidentity = \"own\"\n{egress}"
    ))
}

/// To everything but port 7001, for `identity`.
fn egress(identity: &str) -> String {
    format!(
        r#"
[[egress]]
name = "not-that"
identity = ["any"]
ports = ["7001"]
action = "deny"
[[egress]]
name = "api"
identity = ["{identity}"]
ports = ["7000-7999"]
action = "allow"
"#
    )
}

/// Its bytes went nowhere: what it sends or what it waits for fails with a reset.
#[track_caller]
fn is_reset(world: &World, to: SocketAddr, secret: &str) {
    let send = format!("send={secret}");
    let steps = world.a.script(&[&format!("connect={to}"), &send, "rest"]);
    let errors = [steps.of(&send), steps.of("rest")].map(Result::err);
    let reset = |error: &Option<String>| error.as_deref() == Some("ECONNRESET");
    assert!(errors.iter().any(reset), "{to}: {steps:#?}");
}

impl Gateway {
    #[track_caller]
    fn new() -> Self {
        let world = World::pair();
        let gateway = format!("\"{}\"", world.b.at(15443));
        Self::with(
            setup_a(&world, &gateway),
            setup_b(&world, &egress(A)),
            world,
        )
    }

    #[track_caller]
    fn with(a: Setup, b: Setup, world: World) -> Self {
        let beyond = Beyond::of(&world.b);
        Self {
            b: b.start(),
            a: a.start(),
            beyond,
            world,
        }
    }

    /// The application of `a` is refused with a reset, and both ends say why.
    #[track_caller]
    fn refuses(&self, to: SocketAddr, rule: &str, reason: &str) {
        let before = self.b.records().len();
        is_reset(&self.world, to, "let me in");
        let records = self.b.wait_records(before + 1);
        let record = records.last().unwrap();
        assert_eq!(record.reason(), reason, "{record}");
        assert_eq!(
            (record.direction(), record.rule()),
            ("egress", rule),
            "{record}"
        );
        assert_eq!(record.destination(), to.to_string(), "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_host_reaches_through_its_gateway_what_only_the_gateway_can() {
    let gateway = Gateway::new();
    let Gateway {
        a,
        b,
        beyond,
        world,
    } = &gateway;
    let mut server = beyond.serve(&[beyond.at(7000), beyond.at6(7000)]);
    let capture = Capture::start(&world.a);
    for (n, to) in [beyond.at(7000), beyond.at6(7000), beyond.at(7000)]
        .into_iter()
        .enumerate()
    {
        let steps = world
            .a
            .script(&[
                &format!("connect={to}"),
                "send=gateway-secret",
                "line",
                "shutdown",
                "rest",
            ])
            .all_ok();
        assert_eq!(steps.answer(0)["line"], "gateway-secret");
        let accepted = server.event("accepted");
        let from = accepted["accept"].as_str().unwrap();
        assert!(
            from.starts_with("10.99.0.1:") || from.starts_with("[fd99::1]:"),
            "{from}"
        );
        let (out, through) = (&a.wait_records(n + 1)[n], &b.wait_records(n + 1)[n]);
        assert_eq!(
            (out.direction(), through.direction()),
            ("outbound", "egress")
        );
        assert_eq!((out.rule(), through.rule()), ("out", "api"));
        for record in [out, through] {
            assert_eq!(record.destination(), to.to_string(), "{record}");
            assert_eq!(record.tls_version(), "TLSv1.3", "{record}");
            assert_eq!(record.reason(), "", "{record}");
            assert!(record.source().starts_with("10.88.0.1:"), "{record}");
            let carriage = if n == 0 {
                "tunnel-new"
            } else {
                "tunnel-reused"
            };
            assert_eq!(record.carriage(), carriage, "{record}");
        }
        assert_eq!(out.upstream(), world.b.at(15443).to_string());
        assert_eq!(through.upstream(), to.to_string());
        assert_eq!(
            (out.peer_identity(), through.peer_identity()),
            ("spiffe://example.org/b", A)
        );
        assert_eq!(out.id(), through.id(), "one connection has one id");
    }
    capture.stop().expect_encrypted("gateway-secret");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_gateway_lets_nobody_past_its_rules_nor_to_itself() {
    let gateway = Gateway::new();
    let beyond = &gateway.beyond;
    let (own, there) = (gateway.world.b.at(7000), [beyond.at(7001), beyond.at(7000)]);
    let on_own_host = gateway.world.b.serve(&[own], &[]);
    let behind = beyond.serve(&there);
    gateway.refuses(there[0], "not-that", "egress-denied");
    gateway.refuses(own, "api", "egress-denied");
    for server in [&on_own_host, &behind] {
        assert_eq!(server.accepted(), Vec::<serde_json::Value>::new());
    }
    // A rule that goes is gone for tunnels that are open, too.
    let script = [&*format!("connect={}", there[1]), "send=hello", "line"];
    gateway.world.a.script(&script).all_ok();
    let mut gateway = gateway;
    let config = gateway.b.config().to_owned();
    let text = std::fs::read_to_string(&config).unwrap();
    let without = text.replace("ports = [\"7000-7999\"]", "ports = [\"7002\"]");
    std::fs::write(&config, without).unwrap();
    gateway.b.signal(Signal::SIGHUP);
    gateway.b.wait_log("reloaded");
    gateway.refuses(there[1], "", "egress-denied");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_peer_whom_no_egress_rule_names_gets_no_tunnel() {
    let world = World::pair();
    let address = format!("\"{}\"", world.b.at(15443));
    let b = setup_b(&world, &egress("spiffe://example.org/somebody-else"));
    let gateway = Gateway::with(setup_a(&world, &address), b, world);
    let to = gateway.beyond.at(7000);
    let server = gateway.beyond.serve(&[to]);
    is_reset(&gateway.world, to, "hello");
    assert_eq!(gateway.b.only_record().reason(), "not-allowed");
    assert_eq!(server.accepted(), Vec::<serde_json::Value>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn strangers_at_a_gateway_are_refused_each_with_one_record() {
    let gateway = Gateway::new();
    let at = gateway.world.b.at(15443);
    is_reset(&gateway.world, at, "GET / HTTP/1.0");
    assert_eq!(gateway.b.wait_records(1)[0].reason(), "plaintext");
    let mut known = 1;
    let mut refused = |credential: Option<&Credential>, more: &[&str], reason: &str| {
        gateway
            .world
            .a
            .openssl_client(at, credential, more, "hello");
        known += 1;
        let records = gateway.b.wait_records(known);
        let record = records.last().unwrap();
        assert_eq!(
            (record.direction(), record.reason()),
            ("egress", reason),
            "{record}"
        );
    };
    let alpn = ["-alpn", "sidetrack/1"];
    let good = gateway.world.pki.credential('a', Flaw::None);
    let foreign = gateway.world.pki.credential('a', Flaw::WrongCa);
    refused(Some(&good), &[], "protocol-not-accepted");
    refused(None, &alpn, "no-certificate");
    refused(Some(&foreign), &alpn, "unknown-issuer");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_next_address_is_used_when_a_gateway_does_not_answer() {
    let world = World::pair();
    let addresses = format!("\"{}\", \"{}\"", world.b.at(15444), world.b.at6(15443));
    let (a, b) = (setup_a(&world, &addresses), setup_b(&world, &egress(A)));
    let gateway = Gateway::with(a, b, world);
    let to = gateway.beyond.at(7000);
    let _server = gateway.beyond.serve(&[to]);
    for n in 1..=2 {
        let script = [&*format!("connect={to}"), "send=hello", "line"];
        gateway.world.a.script(&script).all_ok();
        let records = gateway.a.wait_records(n);
        let upstream = gateway.world.b.at6(15443).to_string();
        assert_eq!(records[n - 1].upstream(), upstream);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_its_gateway_nothing_of_a_connection_leaves_the_host() {
    let world = World::pair();
    // There is a way past the gateway: the rule alone keeps to it.
    let beyond = world.b.at(7000);
    let server = world.b.serve(&[beyond], &[]);
    let a = setup_a(&world, &format!("\"{}\"", world.b.at(15443))).start();
    let capture = Capture::start(&world.a);
    is_reset(&world, beyond, "gateway-secret");
    assert_eq!(a.only_record().reason(), "connect-refused");
    drop(a);
    let connect = format!("connect={beyond}");
    let steps = world.a.script(&[&connect, "send=gateway-secret"]);
    assert_eq!(steps.of(&connect).unwrap_err(), "EHOSTDOWN");
    assert_eq!(server.accepted(), Vec::<serde_json::Value>::new());
    capture.stop().expect_no_plaintext("gateway-secret");
}

/// A connection through the gateway that is answered, and waits.
#[track_caller]
fn held_open(gateway: &Gateway) -> harness::Running {
    let connect = format!("connect={}", gateway.beyond.at(7000));
    let steps = ["script", &connect, "send=hello", "line", "rest"];
    let mut client = gateway.world.a.peer(&steps);
    client.line("it is answered", |line| {
        let said = harness::peer::parse(line)?;
        (said["step"] == "line" && !said["ok"].is_null()).then_some(())
    });
    client
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_through_a_gateway_that_a_reload_refuses_is_closed() {
    let policy_changed = |daemon: &Daemon, direction: &str, client: harness::Running| {
        let record = daemon.only_record();
        let seen = (record.direction(), record.reason());
        assert_eq!(seen, (direction, "policy-changed"), "{record}");
        let ended = client.finish();
        assert!(ended.stdout.contains("ECONNRESET"), "{ended}");
    };
    let mut gateway = Gateway::new();
    let _server = gateway.beyond.serve(&[gateway.beyond.at(7000)]);
    let client = held_open(&gateway);
    setup_b(&gateway.world, &egress("spiffe://example.org/c")).write();
    gateway.b.signal(Signal::SIGHUP);
    policy_changed(&gateway.b, "egress", client);
    let mut gateway = Gateway::new();
    let _server = gateway.beyond.serve(&[gateway.beyond.at(7000)]);
    let client = held_open(&gateway);
    setup_a(&gateway.world, "\"10.88.0.3:15443\"").write();
    gateway.a.signal(Signal::SIGHUP);
    policy_changed(&gateway.a, "outbound", client);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_through_a_gateway_is_closed_when_either_end_revokes_the_other() {
    for of_a in [true, false] {
        let world = World::pair();
        let address = format!("\"{}\"", world.b.at(15443));
        let (mut a, mut b) = (setup_a(&world, &address), setup_b(&world, &egress(A)));
        let letter = if of_a { 'a' } else { 'b' };
        let credential = world.pki.credential(letter, Flaw::None);
        if of_a {
            a = a.credential(credential.clone());
        } else {
            b = b.credential(credential.clone());
        }
        let mut gateway = Gateway::with(a, b, world);
        let _server = gateway.beyond.serve(&[gateway.beyond.at(7000)]);
        let client = held_open(&gateway);
        let list = gateway.world.pki.revoke(&[credential]);
        let (daemon, setup) = if of_a {
            (&mut gateway.b, setup_b(&gateway.world, &egress(A)))
        } else {
            (&mut gateway.a, setup_a(&gateway.world, &address))
        };
        setup.crl(list).write();
        daemon.signal(Signal::SIGHUP);
        let record = daemon.only_record();
        assert_eq!(record.reason(), "certificate-revoked", "{record}");
        let ended = client.finish();
        assert!(ended.stdout.contains("ECONNRESET"), "{ended}");
    }
}
