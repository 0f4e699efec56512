//! What the rules had left alone, and those of a reload would not.

use harness::peer::{binary, parse};
use serde_json::Value;

use super::*;

/// A connection that no proxy carries, and the daemon whose rules left it alone.
struct LeftAlone {
    daemon: Daemon,
    world: World,
    client: Running,
    _server: Server,
}

/// Once it has done `step`.
#[track_caller]
fn client(world: &World, steps: &[&str], step: &str) -> Running {
    let mut command = world.a.command_in(world.a.apps().path(), binary());
    command.arg("script").args(steps);
    let mut client = Running::spawn(command);
    client.line(step, |line| {
        let said = parse(line)?;
        assert!(said["errno"].is_null(), "{said}");
        (said["step"] == step).then_some(())
    });
    client
}

impl LeftAlone {
    /// By these rules, from `a` to the other host.
    #[track_caller]
    fn by(rules: &str) -> Self {
        let world = World::pair();
        let at = world.b.at(7000).to_string();
        let server = world.b.serve(&[world.b.at(7000)], &[]);
        let daemon = setup(&world, 'a', rules).start();
        Self::to(&at, world, server, |_| daemon)
    }

    /// With a daemon that is started once the connection is there.
    #[track_caller]
    fn older_than(rules: &str) -> Self {
        let world = World::pair();
        let at = world.b.at(7000).to_string();
        let server = world.b.serve(&[world.b.at(7000)], &[]);
        Self::to(&at, world, server, |world| setup(world, 'a', rules).start())
    }

    #[track_caller]
    fn to(at: &str, world: World, server: Server, daemon: impl FnOnce(&World) -> Daemon) -> Self {
        let connect = format!("connect={at}");
        let steps = [&connect, "send=one", "line", "pause", "send=two", "line"];
        let client = client(&world, &steps, "line");
        Self {
            daemon: daemon(&world),
            world,
            client,
            _server: server,
        }
    }

    #[track_caller]
    fn then(mut self, rules: &str) -> Self {
        setup(&self.world, 'a', rules).write();
        self.daemon.signal(Signal::SIGHUP);
        self.daemon.wait_told("READY=1", 2);
        self
    }

    #[track_caller]
    fn expect_closed_by(self, rule: &str) {
        assert_eq!(self.daemon.ask("sockets"), Value::Array(vec![]));
        let record = self.daemon.only_record();
        let said = (record.reason(), record.rule());
        assert_eq!(said, ("policy-changed", rule), "{record}");
        let refused = &self.daemon.ask("status")["refused"];
        assert_eq!(refused, &serde_json::json!({ "policy-changed": 1 }));
        assert_eq!(second(self.client), "ECONNABORTED");
    }

    /// What `sidetrack sockets` has to say of it.
    #[track_caller]
    fn goes_on(self) -> Vec<Value> {
        let sockets = self.daemon.ask("sockets");
        let records = self.daemon.records();
        assert!(records.is_empty(), "{records:?}");
        assert_eq!(second(self.client), true);
        sockets.as_array().expect("a list").clone()
    }
}

/// What became of its second message: the errno's name, or true.
#[track_caller]
fn second(mut client: Running) -> Value {
    client.tell("go on");
    let ended = client.finish().expect_code(0);
    let said: Vec<Value> = ended.stdout.lines().filter_map(parse).collect();
    let sent = said.iter().find(|said| said["step"] == "send=two");
    let sent = sent.expect("it was told to");
    match sent["errno"].is_null() {
        true => {
            let answer = said.last().expect("it said something");
            let answer = answer["ok"].as_str().unwrap_or_default();
            assert!(answer.contains("two"), "{ended}");
            sent["ok"].clone()
        }
        false => sent["errno"].clone(),
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_was_left_alone_and_is_denied_by_the_new_rules_is_closed_and_recorded() {
    for before in [String::new(), simple("ignore")] {
        LeftAlone::by(&before)
            .then(&simple("deny"))
            .expect_closed_by("new");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_was_left_alone_and_is_to_be_in_mutual_tls_by_the_new_rules_is_closed_and_recorded() {
    LeftAlone::by(&simple("ignore"))
        .then(&mtls())
        .expect_closed_by("out");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_was_left_alone_goes_on_where_the_new_rules_refuse_it_not() {
    let to_others = "[[outbound]]\nname = \"no\"\nports = [\"7003\"]\naction = \"deny\"\n";
    let of_others = "[select.some]\ninclude = [{ cgroup = \"/nobody\" }]\n\
                     [[outbound]]\nname = \"new\"\naction = \"deny\"\nselect = \"some\"\n";
    for after in [&simple("passthrough"), to_others, of_others] {
        LeftAlone::by(&simple("ignore")).then(after).goes_on();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_was_past_the_rules_already_stays_until_other_rules_deny_it() {
    let more = "[[outbound]]\nname = \"no\"\nports = [\"7003\"]\naction = \"deny\"\n";
    let past = LeftAlone::older_than(&mtls())
        .then(&(mtls() + more))
        .goes_on();
    assert_eq!(past[0]["why"], "older-than-daemon", "{past:#?}");
    LeftAlone::older_than(&mtls())
        .then(&simple("deny"))
        .expect_closed_by("new");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_stays_on_its_host_goes_on_under_an_mtls_rule_and_is_closed_by_one_that_denies() {
    let own_host = || {
        let world = World::pair();
        let at = world.a.at(7000).to_string();
        let server = world.a.serve(&[world.a.at(7000)], &[]);
        let daemon = setup(&world, 'a', &simple("ignore")).start();
        LeftAlone::to(&at, world, server, |_| daemon)
    };
    own_host().then(&mtls()).goes_on();
    own_host().then(&simple("deny")).expect_closed_by("new");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connected_udp_socket_that_the_new_rules_deny_is_closed_and_recorded() {
    let world = World::pair();
    let mut daemon = setup(&world, 'a', &simple("ignore")).start();
    let sockets = [7000, 8000].map(|port| {
        let connect = format!("connect={}", world.b.at(port));
        let steps = ["udp4", &connect, "pause", "send=two"];
        client(&world, &steps, &connect)
    });
    // It denies datagrams beside.
    setup(&world, 'a', &mtls()).write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
    let record = daemon.only_record();
    let said = (record.reason(), record.rule(), record.protocol());
    assert_eq!(said, ("policy-changed", "out", "udp"), "{record}");
    assert_eq!(record.destination(), world.b.at(7000).to_string());
    let fates = sockets.map(|mut client| {
        client.tell("go on");
        let ended = client.finish().expect_code(0);
        let last = ended.stdout.lines().filter_map(parse).next_back();
        last.expect("it said something")["errno"].clone()
    });
    // Of a socket that is closed so the kernel forgets whom it was connected to.
    assert_eq!(fates[0], "EDESTADDRREQ");
    assert_ne!(fates[1], "EDESTADDRREQ");
}
