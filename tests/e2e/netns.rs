//! Network namespaces beside the daemon's own: what containers live in.

use harness::{
    Capture, Daemon, Flaw, Host, Record, World,
    cgroup::Cgroup,
    daemon::Setup,
    peer::{Server, binary, parse},
    process::Running,
    rules, until,
};
use serde_json::Value;

mod found;
mod inward;
mod life;
mod passed;
mod past;
mod podman;
mod proof;
mod sidecar;

const PORTS: &str = rules::PORTS;

const SECRET: &str = "what-only-the-far-end-may-read";

/// A namespace with a world of its own around it, in which all have the addresses that everybody
/// else's worlds have, and a cgroup below that of the daemon.
struct Container {
    world: World,
    cgroup: Cgroup,
    _server: Server,
    far: Daemon,
}

/// A daemon on a host without a network, and containers that have one.
struct Stage {
    home: World,
    blue: Container,
    green: Container,
}

impl Container {
    /// Its far end is a host with a daemon, whose identity is that of `letter`, for `client`.
    fn create(home: &World, name: &str, letter: char, client: char) -> Self {
        let world = World::pair();
        let server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
        let far = far(home, &world.b, letter, client);
        Self {
            cgroup: home.a.apps().child(name),
            world,
            _server: server,
            far,
        }
    }

    fn path(&self) -> String {
        self.world.a.netns().path()
    }

    /// A client script, born in its cgroup and in its namespace.
    #[track_caller]
    fn script(&self, steps: &[&str]) -> Vec<Value> {
        let mut command = self.world.a.command_in(self.cgroup.path(), binary());
        command.arg("script").args(steps);
        let ended = Running::spawn(command).finish().expect_code(0);
        ended.stdout.lines().filter_map(parse).collect()
    }

    /// One connection to its server and back: what the server saw, or the errno's name.
    #[track_caller]
    fn hello(&self, word: &str) -> Result<Value, String> {
        let connect = format!("connect={}", self.world.b.at(7000));
        let said = self.script(&[&connect, &format!("send={word}"), "line"]);
        outcome(&said)
    }
}

impl Stage {
    fn set() -> Self {
        let home = World::unwired();
        let blue = Container::create(&home, "blue", 'b', 'a');
        let green = Container::create(&home, "green", 'c', 'd');
        Self { home, blue, green }
    }

    /// A rule for each, to the same addresses, with identities of their own.
    fn setup(&self) -> Setup {
        setup(&self.home, &self.blue.cgroup, &self.green.cgroup)
    }
}

/// Applications in `blue` are `a` and expect `b`, those in `green` are `d` and expect `c`.
fn setup(home: &World, blue: &Cgroup, green: &Cgroup) -> Setup {
    let other = home.pki.credential('d', Flaw::None);
    let rule = |name, cgroup: &Cgroup, identity, expect| {
        format!(
            "[select.{name}]\ninclude = [{{ cgroup = \"{cgroup}\" }}]\n\
             [[outbound]]\nname = \"{name}\"\nselect = \"{name}\"\n\
             to = [\"10.88.0.0/24\", \"fd88::/64\"]\nports = [\"{PORTS}\"]\n\
             action = \"mtls\"\nwire = \"tunnel\"\nidentity = \"{identity}\"\n\
             expect = [\"{}\"]\n",
            spiffe(expect),
            cgroup = cgroup.name(),
        )
    };
    Setup::new(home, &home.a)
        .with(format!(
            "[identity.other]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n",
            other.certificate.display(),
            other.key.display()
        ))
        .with(rule("blue", blue, "own", 'b'))
        .with(rule("green", green, "other", 'c'))
}

/// The daemon of a container's far end, with the identity of `letter`, for `client`.
fn far(home: &World, host: &Host, letter: char, client: char) -> Daemon {
    Setup::new(home, host)
        .credential(home.pki.credential(letter, Flaw::None))
        .with(rules::inbound(r#"["tunnel", "mtls"]"#, &spiffe(client)))
        .start()
}

/// What the last step of a script gave, or the first errno's name.
fn outcome(said: &[Value]) -> Result<Value, String> {
    match said.iter().find_map(|step| step["errno"].as_str()) {
        Some(errno) => Err(errno.to_owned()),
        None => Ok(said.last().expect("a step ran")["ok"].clone()),
    }
}

fn spiffe(letter: char) -> String {
    format!("spiffe://example.org/{letter}")
}

/// What `status` says of the namespaces that were found so.
#[track_caller]
fn namespaces(daemon: &Daemon, found: &str) -> Vec<Value> {
    let status = daemon.ask("status");
    let all = status["namespaces"].as_array().expect("a list").clone();
    all.into_iter()
        .filter(|one| {
            one["found"]
                .as_str()
                .is_some_and(|text| text.starts_with(found))
        })
        .collect()
}

/// Waits until a namespace that was found so is in this state.
#[track_caller]
fn wait_state(daemon: &Daemon, found: &str, state: &str) -> Value {
    until(&format!("{found} is {state}"), || {
        let all = namespaces(daemon, found);
        all.into_iter().find(|one| one["state"] == state)
    })
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_namespaces_with_the_same_addresses_reach_each_its_own_with_its_own_identity() {
    let stage = Stage::set();
    let (blue, green) = (&stage.blue, &stage.green);
    let paths = ["host".to_owned(), blue.path(), green.path()];
    let daemon = stage.setup().netns(paths).start();
    let captures = [blue, green].map(|container| Capture::start(&container.world.a));
    for _ in 0..3 {
        for container in [blue, green] {
            container.hello(SECRET).expect("is served");
        }
    }
    for capture in captures {
        capture.stop().expect_encrypted(SECRET);
    }
    let records = daemon.wait_records(6);
    // One of the other's may be written first: each ends by itself.
    for (rule, ours, theirs) in [("blue", 'a', 'b'), ("green", 'd', 'c')] {
        let of_it = records.iter().filter(|record| record.rule() == rule);
        let of_it: Vec<&Record> = of_it.collect();
        for record in &of_it {
            assert_eq!(record.reason(), "", "{record}");
            assert_eq!(record.own_identity(), spiffe(ours), "{record}");
            assert_eq!(record.peer_identity(), spiffe(theirs), "{record}");
            assert!(record.source().starts_with("10.88.0.1:"), "{record}");
        }
        let carriages: Vec<&str> = of_it.iter().map(|record| record.carriage()).collect();
        assert_eq!(
            carriages,
            ["tunnel-new", "tunnel-reused", "tunnel-reused"],
            "{rule} has a tunnel of its own"
        );
    }
    for container in [blue, green] {
        assert_eq!(container.far.wait_records(3).len(), 3);
        let served = wait_state(&daemon, &container.path(), "serving");
        let of_it = |record: &&Record| record.netns() == served["netns"].as_u64();
        assert_eq!(records.iter().filter(of_it).count(), 3, "{served}");
    }
}
