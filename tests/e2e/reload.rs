//! A reload while connections live and while others are made.

use std::{fs, os::unix::fs::OpenOptionsExt as _};

use harness::{
    Daemon, World, daemon::Setup, holds, load, peer, peer::Server, process::Running, rules,
};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

mod certificates;
mod left_alone;

const TUNNEL_OR_TLS: &str = r#"["tunnel", "mtls"]"#;
const ANY_KIND: &str = r#"["tunnel", "mtls", "plain"]"#;
const A: &str = "spiffe://example.org/a";
const B: &str = "spiffe://example.org/b";
const SOMEBODY_ELSE: &str = "spiffe://example.org/c";

/// A connection that is alive, and the daemons that carry it.
struct Alive {
    a: Daemon,
    b: Daemon,
    world: World,
    client: Running,
    _server: Server,
}

fn setup(world: &World, letter: char, toml: &str) -> Setup {
    let host = if letter == 'a' { &world.a } else { &world.b };
    Setup::new(world, host).with(toml)
}

impl Alive {
    /// By these rules of both.
    #[track_caller]
    fn by(a: &str, b: &str) -> Self {
        let world = World::pair();
        let (a, b) = (setup(&world, 'a', a), setup(&world, 'b', b));
        Self::on(world, a, b)
    }

    #[track_caller]
    fn on(world: World, a: Setup, b: Setup) -> Self {
        let (b, a) = (b.start(), a.start());
        let server = world.b.serve(&[world.b.at(7000)], &[]);
        let connect = format!("connect={}", world.b.at(7000));
        let steps = [
            "script", &connect, "send=one", "line", "pause", "send=two", "line",
        ];
        let mut client = world.a.peer(&steps);
        client.line("it is answered", |line| {
            let said = peer::parse(line)?;
            (said["step"] == "line" && !said["ok"].is_null()).then_some(())
        });
        Self {
            a,
            b,
            world,
            client,
            _server: server,
        }
    }

    /// One of the daemons has these rules from now on.
    #[track_caller]
    fn then(self, letter: char, toml: &str) -> Self {
        let setup = setup(&self.world, letter, toml);
        self.then_by(letter, &setup)
    }

    #[track_caller]
    fn then_by(mut self, letter: char, setup: &Setup) -> Self {
        setup.write();
        let daemon = if letter == 'a' {
            &mut self.a
        } else {
            &mut self.b
        };
        daemon.signal(Signal::SIGHUP);
        daemon.wait_told("READY=1", 2);
        self
    }

    fn answered(mut self) -> (Daemon, Daemon, bool) {
        self.client.tell("go on");
        let ended = self.client.finish();
        let lines = ended.stdout.lines().filter_map(peer::parse);
        let last = lines.filter(|said| said["step"] == "line").nth(1);
        let answered = last.is_some_and(|said| said["ok"].to_string().contains("two"));
        (self.a, self.b, answered)
    }

    #[track_caller]
    fn goes_on(self) {
        let (a, b, answered) = self.answered();
        assert!(answered, "the connection was cut off");
        for daemon in [a, b] {
            for record in daemon.wait_records(1) {
                assert_eq!(record.reason(), "", "{record}");
            }
        }
    }

    /// One of the daemons closes it with its reason, and the other sees that.
    #[track_caller]
    fn expect_closed_by(self, letter: char) {
        self.expect_closed(letter, "policy-changed");
    }

    #[track_caller]
    fn expect_closed(self, letter: char, reason: &str) {
        let daemon = if letter == 'a' { &self.a } else { &self.b };
        let record = daemon.only_record();
        assert_eq!(record.reason(), reason, "{record}");
        assert!(record.bytes_up() > 0, "it was alive: {record}");
        let refused = &daemon.ask("status")["refused"];
        assert_eq!(refused, &serde_json::json!({ reason: 1 }));
        let (_a, _b, answered) = self.answered();
        assert!(!answered, "the connection went on");
    }
}

fn mtls() -> String {
    rules::outbound_mtls("tunnel", B)
}

fn tls() -> String {
    rules::outbound_mtls("tls", B)
}

fn strict() -> String {
    rules::inbound(TUNNEL_OR_TLS, A)
}

fn permissive() -> String {
    rules::inbound(ANY_KIND, A)
}

fn simple(action: &str) -> String {
    format!("[[outbound]]\nname = \"new\"\naction = {action:?}\n")
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reload_that_waits_for_a_file_keeps_neither_connections_nor_an_end_waiting() {
    let mut alive = Alive::by(&mtls(), &strict());
    let config = alive.a.config().to_owned();
    fs::remove_file(&config).expect("remove the configuration");
    mkfifo(&config, Mode::S_IRWXU).expect("put a pipe in its place");
    alive.a.signal(Signal::SIGHUP);
    let mut opening = fs::OpenOptions::new();
    opening.write(true).custom_flags(libc::O_NONBLOCK);
    let mut writer = None;
    holds("the daemon reads the configuration", || {
        writer = opening.open(&config).ok();
        writer.is_some()
    });
    let (mut a, _b, answered) = alive.answered();
    assert!(answered, "the connection was cut off");
    assert_eq!(a.stop(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_that_a_reload_denies_is_closed_with_that_reason() {
    Alive::by(&mtls(), &strict())
        .then('a', &simple("deny"))
        .expect_closed_by('a');
    Alive::by(&rules::outbound_passthrough(), &permissive())
        .then('a', &simple("deny"))
        .expect_closed_by('a');
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_that_a_reload_denies_to_its_cgroup_is_closed_and_others_go_on() {
    let denied_to = |cgroup: &str| {
        format!(
            "[select.some]\ninclude = [{{ cgroup = {cgroup:?} }}]\n\
             [[outbound]]\nname = \"new\"\naction = \"deny\"\nselect = \"some\"\n"
        )
    };
    let alive = Alive::by(&mtls(), &strict());
    let apps = alive.world.a.apps().name();
    alive.then('a', &denied_to(&apps)).expect_closed_by('a');
    let alive = Alive::by(&mtls(), &strict());
    let elsewhere = format!("{}/elsewhere", alive.world.a.apps().name());
    alive.then('a', &denied_to(&elsewhere)).goes_on();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_plain_connection_whose_rule_says_mtls_after_a_reload_is_closed() {
    Alive::by(&rules::outbound_passthrough(), &permissive())
        .then('a', &mtls())
        .expect_closed_by('a');
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_to_a_peer_that_a_reload_does_not_expect_is_closed() {
    for (wire, rules) in [("tunnel", mtls()), ("tls", tls())] {
        Alive::by(&rules, &strict())
            .then('a', &rules::outbound_mtls(wire, SOMEBODY_ELSE))
            .expect_closed_by('a');
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_goes_on_through_a_reload_that_changes_nothing_for_it_or_asks_for_less() {
    for after in [
        mtls(),
        tls(),
        rules::outbound_passthrough(),
        simple("ignore"),
        String::new(),
    ] {
        Alive::by(&mtls(), &strict()).then('a', &after).goes_on();
    }
    Alive::by(&tls(), &strict()).then('a', &mtls()).goes_on();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_of_a_client_that_a_reload_does_not_allow_is_closed() {
    for rules in [mtls(), tls()] {
        Alive::by(&rules, &strict())
            .then('b', &rules::inbound(TUNNEL_OR_TLS, SOMEBODY_ELSE))
            .expect_closed_by('b');
    }
    Alive::by(&mtls(), &strict())
        .then('b', &rules::inbound(r#"["mtls"]"#, A))
        .expect_closed_by('b');
    Alive::by(&rules::outbound_passthrough(), &permissive())
        .then('b', &strict())
        .expect_closed_by('b');
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_that_came_goes_on_through_a_reload_that_lets_it_in_or_leaves_its_port_alone() {
    for rules in [mtls(), tls()] {
        for after in [permissive(), String::new()] {
            Alive::by(&rules, &strict()).then('b', &after).goes_on();
        }
    }
    Alive::by(&rules::outbound_passthrough(), &permissive())
        .then('b', &rules::inbound_plain())
        .goes_on();
}

/// A rule for one port.
fn named(name: &str, port: u16, expect: &str) -> String {
    rules::outbound_mtls("tunnel", expect)
        .replace("\"out\"", &format!("{name:?}"))
        .replace(rules::PORTS, &port.to_string())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_reloads_under_load_misroute_lose_and_let_out_no_connection() {
    let world = World::pair();
    let deny = "[[outbound]]\nname = \"no\"\nports = [\"7003\"]\naction = \"deny\"\n";
    // Which rule each connection met is in its record: a set that is half of one file and half of
    // the other would join a name and a port that no file joins, or a denied port and a rule.
    let files = [
        named("one-first", 7000, B) + &named("one-second", 7001, "any") + deny,
        deny.to_owned() + &named("two-first", 7001, B) + &named("two-second", 7000, "any"),
    ];
    let _b = setup(&world, 'b', &strict()).start();
    let mut a = setup(&world, 'a', &files[0]).start();
    let _server = world
        .b
        .serve(&[world.b.at(7000), world.b.at(7001)], &["--quiet"]);
    let listens = world.b.serve(&[world.b.at(7003)], &[]);
    let (first, second) = (world.b.at(7000).to_string(), world.b.at(7001).to_string());
    let denied = world.b.at(7003).to_string();
    let many = ["many", "--parallel", "2", "--to", &first, "--to", &second];
    let mut clients = world.a.peer(&many);
    let mut intruder = world.a.peer(&["many", "--rest", "2", "--to", &denied]);
    for reload in 1..=load(1_000) as usize {
        setup(&world, 'a', &files[reload % 2]).write();
        a.signal(Signal::SIGHUP);
        a.wait_told("READY=1", reload + 1);
    }
    clients.tell("enough");
    intruder.tell("enough");
    let last = |client: Running| {
        let ended = client.finish();
        ended.stdout.lines().last().and_then(peer::parse).unwrap()
    };
    let (carried, refused) = (last(clients), last(intruder));
    assert_eq!(carried["failures"], serde_json::json!({}), "{carried}");
    let good = carried["good"].as_u64().unwrap();
    assert!(good >= load(1_000), "{carried}");
    assert_eq!(refused["good"], 0, "{refused}");
    let reasons = refused["failures"].as_object().unwrap();
    assert!(reasons.keys().eq(["connect: EPERM"]), "{refused}");
    assert_eq!(listens.accepted().len(), 0);
    let is_carried = |record: &harness::Record| !record.carriage().is_empty();
    let records = a.wait_for_records("all of them", |records| {
        records.iter().filter(|record| is_carried(record)).count() as u64 >= good
    });
    let mut met = std::collections::BTreeSet::new();
    for record in records.iter().filter(|record| is_carried(record)) {
        let port = record.destination().rsplit_once(':').unwrap().1;
        assert_eq!(record.reason(), "", "{record}");
        assert!(record.carriage().starts_with("tunnel"), "{record}");
        met.insert(format!("{} to {port}", record.rule()));
    }
    let files_say = [
        "one-first to 7000",
        "one-second to 7001",
        "two-first to 7001",
        "two-second to 7000",
    ];
    assert!(met.iter().eq(files_say), "{met:#?}");
}
