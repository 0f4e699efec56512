//! How a served namespace ends, and what becomes of it when the daemon does.

use std::{io::Read as _, net::TcpListener};

use harness::{Daemon, bpf, holds, load, netns::NetNs, peer::binary, pins, process::Running};
use nix::sys::signal::Signal;

use super::{Stage, namespaces, spiffe, wait_state};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn namespaces_that_end_are_freed_and_a_hundred_of_them_leave_nothing() {
    let stage = Stage::set();
    let home = &stage.home.a;
    let mut daemon = stage.setup().start();
    let cgroup = stage.blue.cgroup.path();
    let one = |daemon: &Daemon, round: u64| {
        let netns = NetNs::create(format!("{}-{round}", home.unique()));
        let device = format!("gone{round}");
        // The kernel removes this end of the pair when the namespace of the other one goes.
        let pair = [
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            netns.name(),
        ];
        home.netns()
            .ip(&[&["link", "add", &device], &pair[..]].concat());
        netns.ip(&["addr", "add", "10.88.0.1/24", "dev", "eth0"]);
        netns.ip(&["link", "set", "eth0", "up"]);
        let mut command = std::process::Command::new("sh");
        command
            .args([
                "-c",
                r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#,
                "sh",
            ])
            .arg(cgroup)
            .args(["nsenter", &format!("--net={}", netns.path()), "--"])
            .arg(binary())
            .args(["script", "connect=10.88.0.2:7000"]);
        let ended = Running::spawn(command).finish().expect_code(0);
        assert!(ended.stdout.contains("EHOSTDOWN"), "{ended}");
        wait_state(daemon, "selected", "serving");
        drop(netns);
        holds(
            "the namespace is gone, and the other end of its wire",
            || !home.netns().ip(&["link"]).contains(&device),
        );
        assert_eq!(namespaces(daemon, "").len(), 0);
    };
    one(&daemon, 0);
    let before = daemon.holdings();
    (1..=load(100)).for_each(|round| one(&daemon, round));
    daemon.wait_holdings(&before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_tunnel_that_is_idle_does_not_keep_a_namespace_that_nobody_uses() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .start();
    blue.hello("hello").expect("is served");
    assert_eq!(daemon.ask("status")["tunnels"]["10.88.0.2:7000"], 1);
    let far = blue.world.b.netns();
    assert!(far.ip(&["link"]).contains("eth0"));
    let removed = std::process::Command::new("ip")
        .args(["netns", "del", blue.world.a.netns().name()])
        .status()
        .expect("run ip");
    assert!(removed.success());
    holds(
        "the namespace is gone, and the other end of its wire",
        || !far.ip(&["link"]).contains("eth0"),
    );
    assert_eq!(daemon.ask("status")["tunnels"], serde_json::json!({}));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_that_outlives_its_container_is_cut_off_when_the_drain_is_over() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let far = blue.world.b.clone();
    let listener = far.in_netns(|| TcpListener::bind(far.at(8000)).expect("listen"));
    let daemon = stage
        .setup()
        .drain("1s")
        .netns(["host".to_owned(), blue.path()])
        .with(
            "[[outbound]]\nname = \"plain\"\nto = [\"10.88.0.0/24\"]\nports = [\"8000\"]\n\
             action = \"passthrough\"\n",
        )
        .start();
    let connect = format!("connect={}", far.at(8000));
    let said = blue.script(&[&connect, "send=last-words", "close"]);
    assert_eq!(said[1]["errno"], serde_json::Value::Null, "{said:?}");
    let (mut stream, _) = listener.accept().expect("accept");
    let removed = std::process::Command::new("ip")
        .args(["netns", "del", blue.world.a.netns().name()])
        .status()
        .expect("run ip");
    assert!(removed.success());
    // It has ended for the application, and this end does not close it.
    let record = daemon.only_record();
    assert_eq!(record.reason(), "namespace-gone", "{record}");
    let mut words = Vec::new();
    let _ = stream.read_to_end(&mut words);
    assert_eq!(words, b"last-words\n", "what was said before is not lost");
    holds(
        "the namespace is gone, and the other end of its wire",
        || !far.netns().ip(&["link"]).contains("eth0"),
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_a_daemon_was_killed_connects_in_namespaces_are_blocked_until_the_next_one_serves_them() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let mut daemon = stage.setup().start();
    assert_eq!(blue.hello("first"), Err("EHOSTDOWN".to_owned()));
    wait_state(&daemon, "selected", "serving");
    blue.hello("second").expect("is served");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    assert_eq!(blue.hello("third"), Err("EHOSTDOWN".to_owned()));
    // What was said by the one that was killed is in the same file.
    let mut daemon = stage.setup().start();
    blue.hello("fourth").expect("is served at once");
    let record = daemon
        .wait_for_records("the last one", |records| {
            records
                .last()
                .is_some_and(|record| record.reason().is_empty())
        })
        .pop()
        .expect("a record");
    assert_eq!(record.peer_identity(), spiffe('b'), "{record}");
    let instance = daemon.instance().to_owned();
    daemon.detach().expect_code(0);
    assert_eq!(daemon.wait_end(), 0);
    assert_eq!(
        bpf::attached_to(stage.home.a.apps().path()),
        Vec::<&str>::new()
    );
    assert!(!pins::folder(&instance).exists());
    let listening = blue.world.a.run("ss", &["-Hltn"]).expect_code(0);
    assert_eq!(listening.stdout, "", "nothing of ours is left in it");
    // Nobody blocks it any more: the far end, which takes TLS alone, refuses it.
    let refused = blue.hello("fifth");
    assert!(
        refused.as_ref().is_err_and(|errno| errno != "EHOSTDOWN"),
        "{refused:?}"
    );
}
