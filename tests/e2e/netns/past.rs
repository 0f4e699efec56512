//! What goes past the rules in other namespaces: found, counted and closed as in the daemon's own.

use harness::{
    Daemon,
    peer::{Server, binary, parse},
    process::Running,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Container, Stage, wait_state};

/// Both containers have a connection with these very addresses.
const OWN: &str = "bind=10.88.0.1:41000";

const PLAIN: &str = "[[outbound]]\nname = \"plain\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
                     action = \"passthrough\"\n";

/// A script in a container's namespace, once `step` has been done.
#[track_caller]
fn run(container: &Container, steps: &[&str], step: &str) -> Running {
    let mut command = container
        .world
        .a
        .command_in(container.cgroup.path(), binary());
    command.arg("script").args(steps);
    let mut running = Running::spawn(command);
    running.line(step, |line| {
        let said = parse(line)?;
        assert!(said["errno"].is_null(), "{said}");
        (said["step"] == step).then_some(())
    });
    running
}

/// A connection to a server that takes plain text, which lives until it is told otherwise.
#[track_caller]
fn old_connection(container: &Container) -> (Server, Running) {
    let far = &container.world.b;
    let server = far.serve(&[far.at(8000)], &[]);
    let connect = format!("connect={}", far.at(8000));
    let steps = [
        "tcp4", OWN, &connect, "send=old", "line", "pause", "send=new", "line",
    ];
    (server, run(container, &steps, "line"))
}

#[track_caller]
fn sockets(daemon: &Daemon, more: &[&str]) -> Vec<Value> {
    let listed = daemon.ask_with(&[&["sockets"], more].concat());
    listed.as_array().expect("a list").clone()
}

/// What became of its second message: the errno's name, or true.
#[track_caller]
fn goes_on(mut client: Running) -> Value {
    client.tell("go on");
    let ended = client.finish().expect_code(0);
    let said: Vec<Value> = ended.stdout.lines().filter_map(parse).collect();
    let sent = said.iter().find(|said| said["step"] == "send=new");
    let sent = sent.expect("it was told to");
    match sent["errno"].is_null() {
        true => {
            let answer = said.last().expect("it said something");
            let answer = answer["ok"].as_str().unwrap_or_default();
            assert!(answer.contains("new"), "{ended}");
            sent["ok"].clone()
        }
        false => sent["errno"].clone(),
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn connections_older_than_the_daemon_are_listed_with_their_namespace_and_closed_in_that_one_alone()
{
    let stage = Stage::set();
    let (_servers, clients): (Vec<_>, Vec<_>) = [&stage.blue, &stage.green]
        .into_iter()
        .map(old_connection)
        .unzip();
    // Nobody has named the other, and nobody connects there.
    let blue = stage.blue.path();
    let daemon = stage.setup().netns(["host", &blue]).with(PLAIN).start();
    let served = wait_state(&daemon, &blue, "serving");
    let listed = sockets(&daemon, &[]);
    assert_eq!(listed.len(), 2, "{listed:#?}");
    for one in &listed {
        assert_eq!(
            (&one["source"], &one["destination"]),
            (&listed[0]["source"], &listed[0]["destination"])
        );
        assert_eq!(one["rule"], "plain", "{one}");
        assert_eq!(one["why"], "older-than-daemon", "{one}");
    }
    let mut of_blue = sockets(&daemon, &["--netns", &blue]);
    assert_eq!(of_blue.len(), 1, "{of_blue:#?}");
    let of_blue = of_blue.remove(0);
    assert_eq!(of_blue["namespace"], blue);
    assert_eq!(of_blue["netns"], served["netns"]);
    assert_eq!(of_blue["holders"][0]["pid"], clients[0].pid());
    assert_eq!(sockets(&daemon, &["--netns", "host"]), Vec::<Value>::new());
    assert_eq!(daemon.ask("status")["uncovered"], 2);

    let cookie = served["netns"].to_string();
    let outcome = daemon.ask_with(&["close", "--uncovered", "--netns", &cookie]);
    assert_eq!(
        outcome["closed"].as_array().map(Vec::len),
        Some(1),
        "{outcome:#}"
    );
    assert_eq!(outcome["left"], 1);
    let record = daemon.only_record();
    assert_eq!(record.reason(), "not-covered", "{record}");
    assert_eq!(record.netns(), served["netns"].as_u64());
    let left = sockets(&daemon, &[]);
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0]["holders"][0]["pid"], clients[1].pid());
    let fates: Vec<Value> = clients.into_iter().map(goes_on).collect();
    assert_eq!(fates, [Value::from("ECONNABORTED"), true.into()]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_that_is_told_so_closes_what_was_there_before_in_every_namespace() {
    let stage = Stage::set();
    let (_server, client) = old_connection(&stage.blue);
    let daemon = stage
        .setup()
        .more_intercept("existing = \"close\"")
        .with(PLAIN)
        .start();
    assert_eq!(daemon.only_record().reason(), "not-covered");
    assert_eq!(sockets(&daemon, &[]), Vec::<Value>::new());
    assert_eq!(goes_on(client), "ECONNABORTED");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_was_left_alone_and_is_denied_by_a_reload_is_closed_in_its_namespace_alone() {
    let stage = Stage::set();
    let blue = stage.blue.path();
    let setup = || stage.setup().netns(["host", &blue]);
    let mut daemon = setup().start();
    let served = wait_state(&daemon, &blue, "serving");
    let (_servers, clients): (Vec<_>, Vec<_>) = [&stage.blue, &stage.green]
        .into_iter()
        .map(old_connection)
        .unzip();
    let deny = PLAIN.replace("passthrough", "deny") + "select = \"blue\"\n";
    setup().with(deny).write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
    let record = daemon.only_record();
    assert_eq!(record.reason(), "policy-changed", "{record}");
    assert_eq!(record.netns(), served["netns"].as_u64());
    let fates: Vec<Value> = clients.into_iter().map(goes_on).collect();
    assert_eq!(fates, [Value::from("ECONNABORTED"), true.into()]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_a_namespace_has_that_is_redirected_or_accepted_is_not_past_the_rules() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .start();
    let connect = format!("connect={}", blue.world.b.at(7000));
    let client = run(blue, &[&connect, "send=hello", "line", "pause"], "line");
    assert_eq!(sockets(&daemon, &[]), Vec::<Value>::new());
    drop(client);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn raw_and_packet_sockets_of_governed_processes_are_counted_in_every_namespace() {
    let stage = Stage::set();
    let daemon = stage.setup().start();
    let steps = ["raw", "slot=1", "packet", "slot=2", "pause"];
    let open = [&stage.blue, &stage.green].map(|container| run(container, &steps, "slot=2"));
    let status = daemon.ask("status");
    let kinds = status["not_covered"].as_array().expect("a list");
    for what in ["raw", "packet"] {
        let found = kinds.iter().find(|kind| kind["what"] == what);
        let found = found.unwrap_or_else(|| panic!("no {what}: {status:#}"));
        assert_eq!(found["sockets"], 2, "{found:#}");
        for running in &open {
            let holders = found["holders"].as_array().expect("a list");
            let holds = |holder: &Value| holder["pid"] == running.pid();
            assert!(holders.iter().any(holds), "{found:#}");
        }
    }
}
