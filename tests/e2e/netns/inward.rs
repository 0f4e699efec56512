//! Connections that come to applications in other namespaces.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use harness::{
    Capture, Daemon, Running, World, bpf,
    cgroup::Cgroup,
    daemon::Setup,
    holds,
    peer::{Server, binary},
    pins, rules,
};
use nix::sys::signal::Signal;

use super::{SECRET, spiffe, wait_state};

/// A container with an application, and a host with a daemon that comes to it as `client`.
struct Service {
    world: World,
    cgroup: Cgroup,
    server: Server,
    _far: Daemon,
}

impl Service {
    fn start(home: &World, name: &str, client: char) -> Self {
        let world = World::pair();
        let cgroup = home.a.apps().child(name);
        let server = serve(&world, cgroup.path());
        let far = Setup::new(home, &world.b)
            .credential(home.pki.credential(client, harness::Flaw::None))
            .with(rules::outbound_mtls("tunnel", &spiffe('a')))
            .start();
        Self {
            world,
            cgroup,
            server,
            _far: far,
        }
    }

    fn path(&self) -> String {
        self.world.a.netns().path()
    }

    /// A word from the far host's applications, by its daemon.
    #[track_caller]
    fn hello(&self, word: &str) {
        let connect = format!("connect={}", self.world.a.at(7000));
        let steps = [connect.as_str(), &format!("send={word}"), "line"];
        self.world.b.script(&steps).all_ok();
    }

    /// What becomes of somebody's connection who speaks plain text: the first errno.
    #[track_caller]
    fn stranger(&self) -> Option<String> {
        let connect = format!("connect={}", self.world.a.at(7000));
        let outside = self.world.b.daemons().path();
        let steps = self
            .world
            .b
            .script_in(outside, &[&connect, "send=stranger", "line"]);
        let errno = steps.of(&connect).err();
        errno.or_else(|| match steps.of("line") {
            Err(errno) => Some(errno),
            Ok(line) if line == "" => Some("closed".into()),
            Ok(_) => None,
        })
    }
}

fn serve(world: &World, cgroup: &Path) -> Server {
    let mut command = world.a.command_in(cgroup, binary());
    command.args(["serve", "--listen", &world.a.at(7000).to_string()]);
    Server::start(command)
}

fn setup(home: &World, services: &[&Service], more: &str) -> Setup {
    let mut paths = vec!["host".to_owned()];
    paths.extend(services.iter().map(|service| service.path()));
    let allow = [spiffe('b'), spiffe('d')].join("\", \"");
    Setup::new(home, &home.a)
        .netns(paths)
        .with(rules::inbound(r#"["tunnel", "mtls"]"#, &allow) + more)
}

fn inode_of(service: &Service) -> String {
    let inode = fs::metadata(service.path()).expect("a namespace").ino();
    format!("net:[{inode}]")
}

/// Where what steers in its namespace is pinned.
#[track_caller]
fn pin_of(daemon: &Daemon, service: &Service) -> PathBuf {
    let cookie = wait_state(daemon, &service.path(), "serving")["netns"].clone();
    let links = pins::folder(daemon.instance()).join("links");
    links.join(format!("st_sk_lookup_{cookie}"))
}

const SERVED: &str = "netns = \"served\"\n";

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_containers_with_the_same_address_and_port_are_reached_by_mutual_tls_and_by_nothing_else() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let green = Service::start(&home, "green", 'd');
    let daemon = setup(&home, &[&blue, &green], SERVED).start();
    daemon.status().expect_green();
    let captures = [&blue, &green].map(|service| Capture::start(&service.world.a));
    for (service, word) in [(&blue, "for-blue"), (&green, "for-green")] {
        service.hello(&format!("{SECRET}-{word}"));
        service.hello(&format!("{SECRET}-{word}"));
    }
    for capture in captures {
        capture.stop().expect_encrypted(SECRET);
    }
    for service in [&blue, &green] {
        assert!(service.stranger().is_some(), "plain text is refused");
    }
    let records = daemon.wait_records(6);
    for (service, client) in [(&blue, 'b'), (&green, 'd')] {
        let served = wait_state(&daemon, &service.path(), "serving");
        let of_it = records.iter().filter(|record| {
            record.netns() == served["netns"].as_u64() && record.reason().is_empty()
        });
        let identities: Vec<&str> = of_it.map(|record| record.peer_identity()).collect();
        assert_eq!(identities, [spiffe(client), spiffe(client)]);
        // The application is shown its true client.
        let seen = service.server.accepted();
        assert_eq!(seen.len(), 2, "{seen:?}");
        for one in seen {
            assert!(one.to_string().contains("10.88.0.2:"), "{one}");
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_containers_port_stays_closed_to_strangers_when_the_daemon_is_killed_until_detach() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let mut daemon = setup(&home, &[&blue], SERVED).start();
    blue.hello("first");
    assert!(blue.stranger().is_some());
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    assert_eq!(blue.stranger(), Some("ECONNREFUSED".to_owned()));
    let left = daemon.status();
    left.expect_red(&["inbound rules are in force", "net:[", "closed there"]);
    assert_eq!(left.order("sk_lookup", &inode_of(&blue)), ["st_sk_lookup"]);
    let daemon = setup(&home, &[&blue], SERVED).start();
    daemon.status().expect_green();
    blue.hello("second");
    assert!(blue.stranger().is_some());
    let routes = |table: &str| blue.world.a.netns().ip(&["route", "show", "table", table]);
    assert!(routes("local").contains("254.77.77.0/24"));
    daemon.detach().expect_code(0);
    assert_eq!(blue.stranger(), None, "as if nobody had been there");
    for table in ["local", "main"] {
        assert!(!routes(table).contains("254.77.77.0"), "{}", routes(table));
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn detach_finds_routes_in_a_namespace_of_which_no_pin_tells() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let mut daemon = setup(&home, &[&blue], SERVED).start();
    let cookie = wait_state(&daemon, &blue.path(), "serving")["netns"].clone();
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    // As if it had been killed after it had made the routes and before it steered.
    let links = pins::folder(daemon.instance()).join("links");
    fs::remove_file(links.join(format!("st_sk_lookup_{cookie}"))).unwrap();
    let routes = || blue.world.a.netns().ip(&["route", "show", "table", "all"]);
    assert!(routes().contains("254.77.77.0/24"));
    daemon.detach().expect_code(0);
    assert!(!routes().contains("254.77.77.0"), "{}", routes());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn detach_says_which_routes_a_containers_application_still_needs_and_removes_them_later() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let mut daemon = setup(&home, &[&blue], SERVED).start();
    // One that does not close when its client has gone.
    let inside = &blue.world.a;
    let mut command = inside.command_in(blue.cgroup.path(), binary());
    let at = inside.at(7001);
    command.args(["serve", "--listen", &at.to_string(), "--mode", "tell"]);
    let mut application = Running::spawn(command);
    application.line("it listens", |line| line.contains("ready").then_some(()));
    let steps = ["script", &format!("connect={at}"), "send=hello", "line"];
    let client = blue.world.b.peer(&steps);
    application.line("a client", |line| line.contains("will tell").then_some(()));
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let left = daemon.detach().expect_code(1);
    let named = ["254.77.77.0/24", "1 sockets", "network namespace"];
    assert!(
        named.iter().all(|word| left.stderr.contains(word)),
        "{left}"
    );
    let routes = || inside.netns().ip(&["route", "show", "table", "all"]);
    assert!(routes().contains("254.77.77.0/24"));
    application.signal(Signal::SIGKILL);
    application.finish();
    client.finish();
    daemon.detach().expect_code(0);
    assert!(!routes().contains("254.77.77.0"), "{}", routes());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_rule_that_does_not_say_so_leaves_the_ports_of_containers_alone_until_a_reload_does() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let mut daemon = setup(&home, &[&blue], "").start();
    wait_state(&daemon, &blue.path(), "serving");
    assert_eq!(blue.stranger(), None);
    setup(&home, &[&blue], SERVED).write();
    daemon.signal(Signal::SIGHUP);
    holds("it is governed", || blue.stranger().is_some());
    blue.hello("hello");
    daemon.status().expect_green();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_that_ends_leaves_no_pin_of_what_steered_there() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let daemon = setup(&home, &[&blue], SERVED).start();
    let pin = pin_of(&daemon, &blue);
    assert!(pin.exists(), "{}", pin.display());
    let path = blue.path();
    let Service {
        world,
        server,
        cgroup,
        _far,
    } = blue;
    drop((server, _far));
    drop(world);
    drop(cgroup);
    wait_state(&daemon, &path, "absent");
    holds("its pin is gone", || !pin.exists());
    daemon.status().expect_green();
}

/// What `harm` does to the pin is seen, in these words, and a restart mends it, as it says.
#[track_caller]
fn goes_red(blue: &Service, setup: impl Fn() -> Setup, harm: impl Fn(&Path), words: &[&str]) {
    let mut daemon = setup().start();
    let pin = pin_of(&daemon, blue);
    daemon.status().expect_green();
    harm(&pin);
    let status = daemon.status();
    status.expect_red(words);
    let faults = status.json["faults"].as_array().into_iter().flatten();
    for fault in faults {
        let fix = fault["fix"].as_str().unwrap();
        assert!(fix.contains("restart the daemon"), "{fault}");
    }
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let again = setup().start();
    again.status().expect_green();
    assert!(blue.stranger().is_some());
    assert!(pin.exists());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_nobody_is_steered_any_more_in_a_container_or_would_be_without_the_daemon() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let green = Service::start(&home, "green", 'd');
    let both = || setup(&home, &[&blue, &green], SERVED);
    let words = ["inbound rules do not hold", &blue.path(), "not attached"];
    goes_red(&blue, both, bpf::detach_pinned, &words);
    let unpin = |pin: &Path| fs::remove_file(pin).unwrap();
    goes_red(&blue, both, unpin, &["pin of st_sk_lookup_", "is gone"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_shows_what_steers_in_each_container_and_the_programs_of_others_there() {
    let home = World::unwired();
    let services = [("blue", 'b'), ("green", 'd'), ("red", 'b')];
    let services = services.map(|(name, client)| Service::start(&home, name, client));
    let [blue, green, red] = &services;
    let _other = bpf::looking_up(&green.path());
    let daemon = setup(&home, &[blue, green, red], SERVED).start();
    for service in &services {
        pin_of(&daemon, service);
    }
    let status = daemon.status();
    status.expect_green();
    let order = |service| status.order("sk_lookup", &inode_of(service));
    assert_eq!(order(green), ["foreign", "st_sk_lookup"]);
    for service in [blue, red] {
        assert_eq!(order(service), ["st_sk_lookup"]);
    }
    let hooks = status.json["hooks"].as_array().unwrap().iter();
    let hooks: Vec<_> = hooks.filter(|hook| hook["hook"] == "sk_lookup").collect();
    // Where nobody else is it is one, with the daemon's own.
    assert_eq!(hooks.len(), 2, "{hooks:?}");
    let programs = status.json["programs"].as_array().unwrap();
    for service in &services {
        let of_it = programs
            .iter()
            .find(|one| one["place"] == inode_of(service));
        assert_eq!(of_it.unwrap()["effective"], true, "{programs:?}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_start_without_such_a_rule_takes_away_what_another_build_left_in_containers() {
    let home = World::unwired();
    let blue = Service::start(&home, "blue", 'b');
    let mut daemon = setup(&home, &[&blue], SERVED).start();
    let pin = pin_of(&daemon, &blue);
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    // As after an upgrade: the program goes on with maps that the next daemon does not know.
    let folder = pins::folder(daemon.instance());
    let entries = fs::read_dir(&folder).unwrap().flatten();
    let maps = entries.map(|entry| entry.path());
    let maps = maps.filter(|path| !path.ends_with("links"));
    for path in maps.collect::<Vec<_>>() {
        fs::rename(&path, folder.join("v1-another")).unwrap();
    }
    assert_eq!(blue.stranger(), Some("ECONNREFUSED".to_owned()));
    let daemon = setup(&home, &[&blue], "").start();
    daemon.status().expect_green();
    assert!(!pin.exists(), "{}", pin.display());
    assert_eq!(blue.stranger(), None);
}
