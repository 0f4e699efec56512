//! Strangers never reach an application on a port that takes no plain text, whatever it does.

use std::{net::SocketAddr, time::Duration};

use harness::{
    Daemon, Host, Mesh, Running, World, cgroup::Cgroup, daemon::Setup, holds, load, peer, rules,
    webserver,
};
use serde_json::Value;

/// Plain text is not accepted on `b`. One cgroup of `a` is redirected into tunnels; everybody else
/// there, with addresses of their own, is a stranger.
struct Besieged {
    _a: Daemon,
    b: Daemon,
    tunnelled: Cgroup,
    world: World,
}

const STRANGER: &str = "10.88.0.66";
const STRANGER6: &str = "fd88::66";

impl Besieged {
    fn new() -> Self {
        let world = World::pair();
        let netns = world.a.netns();
        netns.ip(&["addr", "add", &format!("{STRANGER}/24"), "dev", "eth0"]);
        // Deprecated: nobody has it for a source who does not ask for it.
        let v6 = format!("{STRANGER6}/64");
        netns.ip(&[
            "addr",
            "add",
            &v6,
            "dev",
            "eth0",
            "nodad",
            "preferred_lft",
            "0",
        ]);
        let tunnelled = world.a.apps().child("tunnelled");
        let b = Setup::new(&world, &world.b)
            .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
            .start();
        let a = Setup::new(&world, &world.a)
            .intercept(&tunnelled)
            .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
            .start();
        Self {
            _a: a,
            b,
            tunnelled,
            world,
        }
    }

    /// Strangers that connect without a pause, several at once.
    #[track_caller]
    fn strangers(&self, to: &[SocketAddr], say: &str) -> Running {
        let from = [format!("{STRANGER}:0"), format!("[{STRANGER6}]:0")];
        let mut words = vec!["knock", "--parallel", "1", "--say", say];
        words.extend(["--from", &from[0], "--from", &from[1]]);
        let to: Vec<_> = to.iter().map(ToString::to_string).collect();
        words.extend(to.iter().flat_map(|to| ["--to", to]));
        let mut knocking = self.world.a.peer(&words);
        knocking.line("they knock", |line| line.contains("knocking").then_some(()));
        knocking
    }

    /// A tunnelled application of `a`.
    fn tunnelled(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Running {
        let mut command = self.world.a.command_in(self.tunnelled.path(), program);
        command.args(args);
        Running::spawn(command)
    }
}

/// How the strangers fared: each was turned away, and there were many.
#[track_caller]
fn turned_away(mut strangers: Running) -> u64 {
    strangers.tell("enough");
    let ended = strangers.finish_within(Duration::from_secs(60));
    let report = ended.stdout.lines().last().and_then(peer::parse);
    let outcomes = report.unwrap_or_else(|| panic!("no report: {ended}"))["outcomes"].clone();
    assert!(outcomes["answered"].is_null(), "{outcomes}");
    let counts = outcomes.as_object().expect("is a table");
    counts.values().filter_map(Value::as_u64).sum()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn strangers_never_reach_an_application_that_restarts_a_thousand_times() {
    let besieged = Besieged::new();
    let b = &besieged.world.b;
    let all = |port| SocketAddr::from(([0_u16; 8], port));
    // Bound to one address of each family, to `::` for both, and to `::` for IPv6 alone.
    let listen = [b.at(7000), b.at6(7000), all(7001), all(7002)];
    let asked: Vec<_> = (7000..7003)
        .flat_map(|port| [b.at(port), b.at6(port)])
        .collect();
    let strangers = besieged.strangers(&asked, "stranger");
    let reachable = [b.at(7000), b.at6(7000), b.at6(7001), b.at6(7002)].map(|to| to.to_string());
    let mut words = vec!["many", "--parallel", "2"];
    words.extend(reachable.iter().flat_map(|to| ["--to", to]));
    let mut clients = besieged.tunnelled(peer::binary(), &words);
    let times = load(1_000);
    let report = restarts(b, times, &listen);
    let knocks = turned_away(strangers);
    clients.tell("enough");
    let ended = clients.finish_within(Duration::from_secs(60));
    let served = ended.stdout.lines().last().and_then(peer::parse);
    let good = served.unwrap_or_else(|| panic!("no report: {ended}"))["good"].as_u64();
    // As the application itself saw it: every connection that it accepted came from a tunnel.
    let clients = report["clients"].as_object().expect("is a table");
    for client in clients.keys() {
        assert!(
            ["10.88.0.1", "[fd88::1]"].contains(&client.as_str()),
            "a stranger was accepted: {report}"
        );
    }
    assert_eq!(report["failed_starts"], 0, "{report}");
    assert!(knocks > times, "{knocks} tries in {times} restarts");
    let lives = report["lives_with_service"].as_u64().unwrap_or_default();
    assert!(
        lives * 10 >= times * 9,
        "tunnels are served in between: {report}"
    );
    assert!(good.unwrap_or_default() > 0, "{ended}");
    let steered = besieged.b.ask("status")["counters"]["steered"].clone();
    assert!(
        steered.as_u64().unwrap_or_default() > 0,
        "nobody was steered"
    );
}

#[track_caller]
fn restarts(host: &Host, times: u64, listen: &[SocketAddr]) -> Value {
    let times = times.to_string();
    let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
    let mut words = vec!["restarts", "--times", &times, "--", "--v6-only", "7002"];
    words.extend(listen.iter().flat_map(|at| ["--listen", at]));
    let running = host.peer(&words);
    let ended = running
        .finish_within(Duration::from_secs(400))
        .expect_code(0);
    let report = ended.stdout.lines().last().and_then(peer::parse);
    report.unwrap_or_else(|| panic!("no report: {ended}"))
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn strangers_never_reach_nginx_while_it_reloads_its_workers() {
    let besieged = Besieged::new();
    let b = &besieged.world.b;
    let server = "    server {
        listen 7000 reuseport;
        listen [::]:7000 ipv6only=on reuseport;
        location / { return 200 \"generation $pid\\n\"; }
    }";
    let nginx = webserver::nginx_with_workers(b, server, 7000, 4);
    let at = [b.at(7000), b.at6(7000)];
    let strangers = besieged.strangers(&at, "GET /stranger HTTP/1.0");
    let ask = || {
        let mut workers = Vec::new();
        for to in at {
            let url = format!("http://{to}/mine");
            let args = ["--silent", "--show-error", "--max-time", "20", &url];
            let answer = besieged.tunnelled("curl", &args).finish();
            workers.push(answer.stdout);
        }
        workers
    };
    for _ in 0..load(20) {
        let before = ask();
        nginx.signal(nix::sys::signal::Signal::SIGHUP);
        holds("the new workers answer", || {
            let now = ask();
            now.iter()
                .all(|answer| answer.starts_with("generation ") && !before.contains(answer))
        });
    }
    let knocks = turned_away(strangers);
    assert!(knocks > 100, "{knocks} tries");
    // As nginx itself saw it: it logs requests, and what was none, with their source.
    let log = std::fs::read_to_string(b.dir().join("nginx/access.log")).expect("read its log");
    assert!(log.contains("GET /mine"), "{log}");
    for who in ["stranger", STRANGER, STRANGER6] {
        assert!(!log.contains(who), "{who} is in its log");
        assert!(!nginx.stderr().contains(who), "{}", nginx.stderr());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_listener_for_ipv6_alone_leaves_its_port_closed_over_ipv4_also_when_it_restarts() {
    let world = World::pair();
    let _b = Setup::new(&world, &world.b)
        .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
        .start();
    let all: SocketAddr = "[::]:7000".parse().unwrap();
    let connect = format!("connect={}", world.b.at(7000));
    let connect6 = format!("connect={}", world.b.at6(7000));
    let refused = Err("ECONNREFUSED".to_owned());
    let over = |connect: &str| world.a.script(&[connect]).of(connect);
    let only = world.b.serve(&[all], &["--v6-only", "7000"]);
    // The programs cannot see the option: until user space has looked, the proxy answers.
    holds("the port closes over IPv4", || over(&connect) == refused);
    assert!(over(&connect6).is_ok(), "and not over IPv6");
    only.stop();
    for _ in 0..load(10) {
        let again = world.b.serve(&[all], &["--v6-only", "7000"]);
        assert_eq!(over(&connect), refused, "at once after a restart");
        again.stop();
    }
    let both = world.b.serve(&[all], &[]);
    holds("a listener for both families opens it", || {
        over(&connect).is_ok()
    });
    drop(both);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_stranger_with_data_in_its_syn_reaches_no_application_that_takes_it() {
    let world = World::pair();
    for host in [&world.a, &world.b] {
        // Data in the SYN without a cookie, sent and taken, at every listener.
        host.sysctl("net/ipv4/tcp_fastopen", "1543");
    }
    let daemon = Setup::new(&world, &world.b)
        .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
        .start();
    let listen = [world.b.at(7000), world.b.at6(7000)];
    let server = world.b.serve(&listen, &["--fast-open"]);
    for to in listen {
        let fastsend = format!("fastsend={to}");
        let family = if to.is_ipv4() { "tcp4" } else { "tcp6" };
        let steps = world.a.script(&[family, &fastsend, "acked", "line"]);
        assert_ne!(steps.of("acked"), Ok(Value::Bool(true)), "{steps:?}");
        let line = steps.of("line").unwrap_or_default();
        assert_eq!(line.as_str().unwrap_or_default(), "", "{steps:?}");
    }
    for record in daemon.wait_records(2) {
        assert_eq!(record.reason(), "plaintext", "{record}");
    }
    assert_eq!(server.accepted(), Vec::<Value>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_application_starts_again_while_connections_to_its_port_live() {
    let mesh = Mesh::tunnel();
    let (a, b) = (&mesh.world.a, &mesh.world.b);
    let listen = [b.at(7000), b.at6(7000)];
    for _ in 0..2 {
        // The tunnels stay: at this end they are connections to the application's own port.
        let server = b.serve(&listen, &[]);
        for to in listen {
            let connect = format!("connect={to}");
            a.script(&[&connect, "send=hello", "line"]).all_ok();
        }
        server.stop();
    }
}
