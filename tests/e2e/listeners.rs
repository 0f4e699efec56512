//! Sidecars without interception: applications that are pointed at a local port.

use std::net::SocketAddr;

use harness::{
    Capture, Daemon, Flaw, World,
    daemon::Setup,
    holds,
    webserver::{curl, haproxy, haproxy_tls},
};
use nix::sys::signal::Signal;

mod balance;
mod certificates;
mod health;
mod modes;
mod names;
mod passthrough;
mod plain;
mod upstreams;
mod versions;
mod web;

/// Where the client's side listens, and the server's, and the application of `b`.
const NEAR: u16 = 8080;
const FAR: u16 = 8081;
const APP: u16 = 3000;

fn near(world: &World) -> Setup {
    near_with(world, "")
}

/// With `more` of its upstream.
fn near_with(world: &World, more: &str) -> Setup {
    Setup::new(world, &world.a).with(format!(
        r#"
[upstream.far]
addresses = ["{}"]
wire = "tls"
identity = "own"
expect = ["b.example.org"]
{more}
[[listener]]
name = "near"
bind = "127.0.0.1:{NEAR}"
mode = "tcp"
upstream = "far"
"#,
        world.b.at(FAR)
    ))
}

fn far(world: &World, mode: &str) -> Setup {
    far_with(world, mode, "")
}

fn far_with(world: &World, mode: &str, more: &str) -> Setup {
    let allow = if mode == "simple" {
        ""
    } else {
        ", allow = [\"a.example.org\"]"
    };
    Setup::new(world, &world.b).with(format!(
        r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
[[listener]]
name = "far"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
tls = {{ mode = "{mode}", identities = ["own"]{allow}{more} }}
"#
    ))
}

/// Changes the configuration and reloads it, for the `nth` time.
#[track_caller]
fn reload(daemon: &mut Daemon, nth: usize, from: &str, to: &str) {
    let toml = std::fs::read_to_string(daemon.config()).unwrap();
    let changed = toml.replace(from, to);
    assert_ne!(toml, changed);
    std::fs::write(daemon.config(), changed).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", nth + 1);
}

/// Whoever connects there and sends something is reset; the kernel tells it in one of two steps.
#[track_caller]
fn expect_reset(world: &World, to: SocketAddr) {
    const SEND: &str = "send=neither a header nor TLS";
    let steps = world.a.script(&[&format!("connect={to}"), SEND, "rest"]);
    let reset = [SEND, "rest"].map(|step| steps.of(step).is_err());
    assert!(reset.contains(&true), "{steps:?}");
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

struct Pair {
    near: Daemon,
    far: Daemon,
    world: World,
}

impl Pair {
    fn new() -> Self {
        let world = World::pair();
        Self {
            far: far(&world, "mutual").start(),
            near: near(&world).start(),
            world,
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_pair_carries_bytes_in_mutual_tls_and_both_ends_say_who_was_there() {
    let Pair { near, far, world } = Pair::new();
    let capture = Capture::start(&world.a);
    let mut app = world.b.serve(&[local(APP)], &[]);
    let steps = world.a.script(&[
        &format!("connect={}", local(NEAR)),
        "send=sidecar-secret",
        "line",
        "shutdown",
        "rest",
    ]);
    steps.all_ok();
    assert_eq!(app.words(), ["sidecar-secret"]);
    let (near, far) = (near.only_record(), far.only_record());
    for (record, own, peer) in [(&near, "a", "b"), (&far, "b", "a")] {
        assert_eq!(record.direction(), "listener", "{record}");
        assert_eq!(record.carriage(), "tls", "{record}");
        assert_eq!(record.tls_version(), "TLSv1.3", "{record}");
        assert_eq!(record.own_identity(), format!("spiffe://example.org/{own}"));
        assert_eq!(
            record.peer_identity(),
            format!("spiffe://example.org/{peer}")
        );
        assert_eq!(record.reason(), "", "{record}");
    }
    assert_eq!((near.rule(), far.rule()), ("near", "far"));
    assert_eq!(near.upstream(), world.b.at(FAR).to_string());
    assert_eq!(far.upstream(), local(APP).to_string());
    capture.stop().expect_encrypted("sidecar-secret");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn who_shows_no_certificate_is_told_that_one_is_required_and_who_shows_a_wrong_one_is_refused() {
    let world = World::pair();
    let far = far(&world, "mutual").start();
    let mut app = world.b.serve(&[local(APP)], &[]);
    let none = world.a.openssl_client(world.b.at(FAR), None, &[], "hello");
    assert!(none.stderr.contains("certificate required"), "{none}");
    far.wait_records(1);
    let cases = [
        (Flaw::WrongCa, "unknown-issuer"),
        (Flaw::Expired, "certificate-expired"),
        (Flaw::WrongIdentity, "not-allowed"),
    ];
    for (index, (flaw, reason)) in cases.into_iter().enumerate() {
        let wrong = world.pki.credential('a', flaw);
        world
            .a
            .openssl_client(world.b.at(FAR), Some(&wrong), &[], "hello");
        let record = far.wait_records(index + 2).pop().unwrap();
        assert_eq!(record.reason(), reason, "{record}");
    }
    assert_eq!(far.records()[0].reason(), "no-certificate");
    let good = world.pki.credential('a', Flaw::None);
    let answer = world.a.openssl_answer(world.b.at(FAR), &good, "hello");
    assert!(!answer.is_empty(), "the good one is let in");
    assert_eq!(app.words(), ["hello"], "and nobody before it");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_haproxy_can_take_either_end() {
    let world = World::pair();
    let [a, b] = ['a', 'b'].map(|letter| world.pki.credential(letter, Flaw::None));
    let page = format!(
        "frontend app\n    bind 127.0.0.1:{APP}\n    http-request return status 200 content-type \
         text/plain lf-string \"the page\"\n"
    );
    let body = format!(
        "{page}frontend f\n    mode tcp\n    bind :{FAR} {}\n    default_backend app\nbackend app\n    \
         mode tcp\n    server s 127.0.0.1:{APP}\n",
        haproxy_tls(&b, &world.pki)
    );
    let ours = near(&world).start();
    {
        let _theirs = haproxy(&world.b, &body, FAR);
        let got = curl(&world.a, local(NEAR), &[]).expect_code(0);
        assert!(got.stdout.contains("the page"), "{got}");
        assert_eq!(ours.only_record().peer_identity(), "spiffe://example.org/b");
    }
    drop(ours);
    let ours = far(&world, "mutual").start();
    let _app = haproxy(&world.b, &page, APP);
    let body = format!(
        "frontend f\n    mode tcp\n    bind 127.0.0.1:{NEAR}\n    default_backend far\nbackend far\n    \
         mode tcp\n    server s {} ssl verify required ca-file {} verifyhost b.example.org crt {}\n",
        world.b.at(FAR),
        world.pki.bundle().display(),
        a.both.display()
    );
    let _theirs = haproxy(&world.a, &body, NEAR);
    let got = curl(&world.a, local(NEAR), &[]).expect_code(0);
    assert!(got.stdout.contains("the page"), "{got}");
    assert_eq!(ours.only_record().peer_identity(), "spiffe://example.org/a");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_upstream_that_is_down_is_logged_once_refuses_at_once_and_is_noticed_when_it_is_back() {
    let world = World::pair();
    let mut far = far(&world, "mutual").start();
    let near = near(&world).start();
    let connect = format!("connect={}", local(NEAR));
    for count in 1..=5 {
        let steps = world.a.script(&[&connect, "send=hello", "rest"]);
        assert!(
            steps.of("rest").is_err() || steps.of("send=hello").is_err(),
            "{steps:?}"
        );
        far.wait_records(count);
    }
    far.wait_log("is down");
    let records = far.wait_records(5);
    assert_eq!(records[0].reason(), "connect-refused", "{}", records[0]);
    assert_eq!(records[4].reason(), "upstream-down", "{}", records[4]);
    let mut app = world.b.serve(&[local(APP)], &[]);
    far.wait_log("up again");
    world.a.script(&[&connect, "send=welcome", "line"]).all_ok();
    assert_eq!(app.words(), ["welcome"]);
    drop(near);
}

/// Everybody who asks is answered by one of them; how many by each.
#[track_caller]
fn answers(world: &World, to: SocketAddr, times: usize, ports: &[u16]) -> Vec<usize> {
    let mut counts = vec![0; ports.len()];
    for _ in 0..times {
        let connect = format!("connect={to}");
        let steps = world.a.script(&[&connect, "send=who", "line"]);
        let line = steps.ok("line").to_string();
        let port = ports
            .iter()
            .position(|port| line.contains(&format!("127.0.0.1:{port}\\\"")));
        counts[port.unwrap_or_else(|| panic!("{line}"))] += 1;
    }
    counts
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn connections_go_to_endpoints_in_turn_and_to_none_that_is_down() {
    let world = World::pair();
    let ports = [3001, 3002, 3003];
    let addresses = ports.map(local).map(|at| format!("\"{at}\"")).join(", ");
    let daemon = Setup::new(&world, &world.b)
        .with(format!(
            r#"
[upstream.app]
addresses = [{addresses}]
balance = "round-robin"
[[listener]]
name = "front"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
"#
        ))
        .start();
    let mut apps: Vec<_> = ports.map(|port| world.b.serve(&[local(port)], &[])).into();
    let to = world.b.at(FAR);
    assert_eq!(answers(&world, to, 6, &ports), [2, 2, 2]);
    apps.remove(1).stop();
    // The one that finds it down is served elsewhere: not a byte was sent to it.
    let counts = answers(&world, to, 6, &ports);
    assert_eq!((counts[1], counts.iter().sum()), (0, 6), "{counts:?}");
    let down = |up: bool| {
        let status = daemon.ask("status");
        status["upstreams"][0]["endpoints"][1]["up"] == up
    };
    holds("it is known to be down", || down(false));
    apps.push(world.b.serve(&[local(ports[1])], &[]));
    holds("it is known to be back", || down(true));
    assert_eq!(answers(&world, to, 6, &ports), [2, 2, 2]);
    let refused = daemon
        .records()
        .into_iter()
        .filter(|record| record.reason() != "");
    assert_eq!(refused.count(), 0, "nobody was refused");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_is_who_the_proxy_header_of_a_named_proxy_says_and_the_next_one_is_told() {
    let world = World::pair();
    let setup = |from: &str| {
        Setup::new(&world, &world.b).with(format!(
            r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
send_proxy = "v1"
[[listener]]
name = "front"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
proxy_from = ["{from}"]
"#
        ))
    };
    let mut app = world.b.serve(&[local(APP)], &[]);
    let connect = format!("connect={}", world.b.at(FAR));
    let header = "send=PROXY TCP4 192.0.2.7 198.51.100.1 4321 443\r";
    {
        let daemon = setup("10.88.0.1").start();
        world.a.script(&[&connect, header, "line"]).all_ok();
        let record = daemon.only_record();
        assert_eq!(record.source(), "192.0.2.7:4321", "{record}");
        expect_reset(&world, world.b.at(FAR));
        assert_eq!(daemon.wait_records(2)[1].reason(), "proxy-header");
    }
    // Of somebody else the same bytes are his own.
    let daemon = setup("10.88.0.99").start();
    world.a.script(&[&connect, header, "line"]).all_ok();
    assert!(daemon.wait_records(3)[2].source().starts_with("10.88.0.1:"));
    let words = app.words();
    // Of both connections, and of the second the bytes that are his own.
    for begins in [
        "PROXY TCP4 192.0.2.7 10.88.0.2 4321",
        "PROXY TCP4 10.88.0.1 10.88.0.2",
        "PROXY TCP4 192.0.2.7 198.51.100.1 4321",
    ] {
        let said = words.iter().any(|word| word.starts_with(begins));
        assert!(said, "{begins}: {words:?}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn another_mode_takes_one_word_and_a_reload_and_drops_nobody() {
    let world = World::pair();
    let mut daemon = far(&world, "mutual").start();
    let _app = world.b.serve(&[local(APP)], &[]);
    let good = world.pki.credential('a', Flaw::None);
    let to = world.b.at(FAR);
    let mut open = world.a.start_openssl_client(to, Some(&good), &[], "first");
    open.line("the answer", |line| line.contains("first").then_some(()));
    reload(&mut daemon, 1, "mode = \"mutual\"", "mode = \"optional\"");
    let none = world.a.openssl_client_until(to, None, &[], "nobody", || {
        holds("it is let in", || {
            daemon.ask("connections").as_array().unwrap().len() == 2
        });
    });
    assert!(!none.stderr.contains("certificate required"), "{none}");
    open.tell("second");
    open.line("the answer", |line| line.contains("second").then_some(()));
    reload(&mut daemon, 2, "mode = \"optional\"", "mode = \"mutual\"");
    let none = world.a.openssl_client(to, None, &[], "nobody");
    assert!(none.stderr.contains("certificate required"), "{none}");
    open.tell("third");
    open.line("the answer", |line| line.contains("third").then_some(()));
}
