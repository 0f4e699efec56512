//! What `explain` says, against what then happens.

use harness::process::Finished;
use serde_json::Value;

use super::*;

fn setup(world: &World) -> Setup {
    let web = format!("{}/web", world.a.apps().name());
    Setup::new(world, &world.a).with(format!(
        r#"[select.web]
include = [{{ cgroup = "{web}" }}]
exclude = [{{ uid = 1235 }}]
[select.user]
include = [{{ uid = 1234 }}]
[[outbound]]
name = "wide"
to = ["10.0.0.0/8"]
ports = ["7000-7999"]
action = "passthrough"
[[outbound]]
name = "narrow"
to = ["10.88.0.2/32"]
ports = ["7005"]
action = "deny"
[[outbound]]
name = "web"
select = "web"
to = ["10.0.0.0/8"]
ports = ["7001", "7005"]
action = "deny"
[[outbound]]
name = "user"
select = "user"
to = ["10.0.0.0/8"]
ports = ["7001", "7002"]
action = "deny"
"#
    ))
}

#[track_caller]
fn run(world: &World, daemon: &Daemon, args: &[&str]) -> Finished {
    let mut command = world
        .a
        .command_in(world.a.daemons().path(), harness::sidetrack_bin());
    command
        .args(["explain", "--instance", daemon.instance(), "--runtime-dir"])
        .arg(daemon.runtime_dir())
        .args(args);
    Running::spawn(command).finish()
}

fn json(ended: &Finished) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// Why a rule does not decide.
#[track_caller]
fn why(said: &Value, rule: &str) -> String {
    let lost = said["explained"][0]["lost"].as_array().unwrap();
    let found = lost.iter().find(|one| one["rule"] == rule);
    found.unwrap_or_else(|| panic!("{rule}: {said}"))["why"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_is_explained_is_what_happens_and_what_the_kernels_tables_say() {
    let world = World::pair();
    let web = world.a.apps().child("web");
    let ports = [7000, 7001, 7002, 7005, 9100];
    let _server = world.b.serve(&ports.map(|port| world.b.at(port)), &[]);
    let daemon = setup(&world).start();
    let apps = world.a.apps();
    // Rule, whether it lets the connection through, by whom and where to.
    let cases = [
        (Some("wide"), apps, 0, 7000),
        (Some("wide"), apps, 0, 7001),
        (Some("web"), &web, 0, 7001),
        (Some("wide"), &web, 1235, 7001),
        (Some("wide"), apps, 1233, 7002),
        (Some("user"), apps, 1234, 7002),
        (Some("narrow"), apps, 0, 7005),
        // Not the last one: its record, if it had one, would be before the next one's.
        (None, &web, 0, 9100),
        (Some("narrow"), &web, 0, 7005),
    ];
    let mut recorded = 0;
    for (rule, cgroup, uid, port) in cases {
        let to = world.b.at(port).to_string();
        let who = format!("{} as {uid} to {to}", cgroup.name());
        let (uid, name) = (uid.to_string(), cgroup.name());
        let explained = json(
            &run(
                &world,
                &daemon,
                &[&to, "--json", "--cgroup", &name, "--uid", &uid],
            )
            .expect_code(0),
        );
        let decision = &explained["explained"][0]["decision"];
        assert_eq!(decision["rule"].as_str(), rule, "{who}: {explained}");
        assert_eq!(explained["kernel"][0], "agrees", "{who}: {explained}");
        let (as_user, connect) = (format!("uid={uid}"), format!("connect={to}"));
        let steps = world
            .a
            .script_in(cgroup.path(), &["tcp4", &as_user, &connect]);
        let denied = decision["verdict"] == "deny";
        assert_eq!(steps.of(&connect).is_err(), denied, "{who}: {steps:?}");
        recorded += usize::from(rule.is_some());
        let records = daemon.wait_records(recorded);
        if let Some(rule) = rule {
            assert_eq!(records[recorded - 1].rule(), rule, "{who}");
        }
        assert_eq!(records.len(), recorded, "{who}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn each_rule_that_does_not_decide_is_named_with_its_reason() {
    let world = World::pair();
    let web = world.a.apps().child("web");
    let daemon = setup(&world).start();
    let name = web.name();
    let ask = |args: &[&str]| json(&run(&world, &daemon, args).expect_code(0));
    let said = ask(&["10.88.0.2:7005", "--json", "--cgroup", &name]);
    assert!(why(&said, "web").contains("a shorter prefix"), "{said}");
    assert!(why(&said, "wide").contains("a shorter prefix"), "{said}");
    assert!(why(&said, "user").contains("another port"), "{said}");
    let said = ask(&[
        "10.88.0.2:7001",
        "--json",
        "--cgroup",
        &name,
        "--uid",
        "1235",
    ]);
    assert!(why(&said, "web").contains("exclude holds"), "{said}");
    let said = ask(&[
        "10.88.0.2:7001",
        "--json",
        "--cgroup",
        &name,
        "--uid",
        "1234",
    ]);
    assert!(
        why(&said, "user").contains("\"web\" stands before it"),
        "{said}"
    );
    let said = ask(&["10.88.0.2:7001", "--json", "--cgroup", &name]);
    assert!(why(&said, "wide").contains("no selection"), "{said}");
    let said = ask(&["192.0.2.1:7001", "--json", "--cgroup", &name]);
    assert!(why(&said, "wide").contains("another destination"), "{said}");
    let said = ask(&["10.88.0.2:7001", "--json", "--protocol", "udp"]);
    assert!(why(&said, "wide").contains("another protocol"), "{said}");
    let elsewhere = world.a.daemons().name();
    let said = ask(&["10.88.0.2:7001", "--json", "--cgroup", &elsewhere]);
    assert!(why(&said, "wide").contains("no program runs"), "{said}");
    // Of a process, as it is.
    let server = world.a.serve(&[world.a.at(9000)], &[]);
    let pid = server.pid().to_string();
    let said = ask(&["10.88.0.2:7001", "--json", "--pid", &pid]);
    let task = &said["explained"][0]["task"];
    assert_eq!(task["cgroup"], world.a.apps().name(), "{said}");
    // For people, and of a file alone.
    let config = daemon.config().display().to_string();
    run(&world, &daemon, &["10.88.0.2:7005", "--cgroup", &name])
        .expect_code(0)
        .expect_said(&[
            "decided by \"narrow\"",
            "the kernel's own tables say the same",
        ]);
    run(
        &world,
        &daemon,
        &["10.88.0.2:7005", "--config", &config, "--cgroup", &name],
    )
    .expect_code(0)
    .expect_said(&["decided by \"narrow\""]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_the_kernel_decides_otherwise_is_said_and_is_a_failure() {
    let world = World::pair();
    let mut daemon = setup(&world).start();
    let apps = world.a.apps().name();
    bpf::map_of(daemon.pid(), "ACTIVE").change_first(u32::MAX);
    run(&world, &daemon, &["10.88.0.2:7005", "--cgroup", &apps])
        .expect_code(1)
        .expect_said(&["NOT SO IN THE KERNEL"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn who_comes_to_a_port_is_explained() {
    let world = World::pair();
    let daemon = everything(&world).start();
    let _server = world.a.serve(&[world.a.at(7000)], &[]);
    run(
        &world,
        &daemon,
        &["--inbound", "7000", "--from", "10.88.0.2"],
    )
    .expect_code(0)
    .expect_said(&[
        "decided by \"in\"",
        "plain text is let in",
        "1 sockets listen",
    ]);
    run(&world, &daemon, &["--inbound", "80"])
        .expect_code(0)
        .expect_said(&["no inbound rule names the port"]);
}
