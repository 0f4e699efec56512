//! Containers of Podman: each has a network namespace of its own, which comes and goes with it.

use harness::{
    Capture, Daemon, World, holds,
    peer::Server,
    podman::{Container, Podman},
};
use serde_json::Value;

use super::{SECRET, far, outcome, setup, spiffe, wait_state};

/// The far end of a container's wire.
struct Far {
    world: World,
    daemon: Option<Daemon>,
    server: Option<Server>,
}

impl Far {
    fn create() -> Self {
        Self {
            world: World::unwired(),
            daemon: None,
            server: None,
        }
    }

    /// Wires it to a container that runs, and serves it.
    fn wire(&mut self, container: &Container<'_>, home: &World, letter: char, client: char) {
        let host = &self.world.b;
        container.wire(host);
        self.server = Some(host.serve(&[host.at(7000)], &["--quiet"]));
        self.daemon = Some(far(home, host, letter, client));
    }

    #[track_caller]
    fn wait_unwired(&self) {
        holds(
            "the container's namespace is gone, and the end of its wire",
            || !self.world.b.netns().ip(&["link"]).contains("eth0"),
        );
    }
}

#[track_caller]
fn hello(container: &Container<'_>) -> Result<Value, String> {
    let send = format!("send={SECRET}");
    outcome(&container.script(&["connect=10.88.0.2:7000", &send, "line"]))
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_containers_with_the_same_addresses_reach_each_its_own_and_go_without_a_trace() {
    let home = World::unwired();
    let cgroups = ["blue", "green"].map(|name| home.a.apps().child(name));
    let podman = Podman::new();
    let (mut at_blue, mut at_green) = (Far::create(), Far::create());
    let daemon = setup(&home, &cgroups[0], &cgroups[1]).start();
    let blue = podman.start("blue", &cgroups[0]);
    let green = podman.start("green", &cgroups[1]);
    at_blue.wire(&blue, &home, 'b', 'a');
    at_green.wire(&green, &home, 'c', 'd');
    let captures = [&at_blue, &at_green].map(|far| Capture::start(&far.world.b));
    for container in [&blue, &green] {
        assert_eq!(hello(container), Err("EHOSTDOWN".to_owned()));
    }
    holds("both are served", || {
        let status = daemon.ask("status");
        let all = status["namespaces"].as_array().expect("a list").clone();
        all.iter().filter(|one| one["state"] == "serving").count() == 2
    });
    for _ in 0..2 {
        for container in [&blue, &green] {
            hello(container).expect("is served");
        }
    }
    for capture in captures {
        capture.stop().expect_encrypted(SECRET);
    }
    let records = daemon.wait_records(6);
    let served: Vec<_> = records
        .iter()
        .filter(|one| one.reason().is_empty())
        .collect();
    assert_eq!(served.len(), 4, "{records:#?}");
    for record in served {
        let (ours, theirs) = if record.rule() == "blue" {
            ('a', 'b')
        } else {
            ('d', 'c')
        };
        assert_eq!(record.own_identity(), spiffe(ours), "{record}");
        assert_eq!(record.peer_identity(), spiffe(theirs), "{record}");
    }
    blue.stop();
    at_blue.wait_unwired();
    hello(&green).expect("is served on");
    green.stop();
    at_green.wait_unwired();
    let status = daemon.ask("status");
    assert_eq!(status["namespaces"], serde_json::json!([]));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_whose_cgroup_is_named_is_served_from_its_first_connection() {
    let home = World::unwired();
    let cgroups = ["blue", "green"].map(|name| home.a.apps().child(name));
    let entry = format!("cgroup:{}", cgroups[0].name());
    let podman = Podman::new();
    let mut at_blue = Far::create();
    let daemon = setup(&home, &cgroups[0], &cgroups[1])
        .netns(["host", &entry])
        .start();
    for _ in 0..2 {
        let blue = podman.start("blue", &cgroups[0]);
        at_blue.wire(&blue, &home, 'b', 'a');
        wait_state(&daemon, &entry, "serving");
        hello(&blue).expect("is served");
        blue.stop();
        at_blue.wait_unwired();
        at_blue.server = None;
        at_blue.daemon = None;
    }
    let reasons: Vec<String> = daemon
        .wait_records(2)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    assert_eq!(reasons, ["", ""]);
}
