//! `status` asks the kernel in each namespace that is served.

use std::process::Command;

use harness::bpf;
use serde_json::Value;

use super::{Container, Stage, wait_state};

/// What became of the canary in a container's namespace.
#[track_caller]
fn canary(status: &harness::Status, container: &Container) -> Value {
    let all = status.json["canary"]["namespaces"]
        .as_array()
        .expect("a list");
    let found = all.iter().find(|one| one["namespace"] == container.path());
    found
        .unwrap_or_else(|| panic!("none in {}: {status:?}", container.path()))
        .clone()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_canary_comes_back_in_each_namespace_that_is_served_and_leaves_no_trace() {
    let stage = Stage::set();
    let both = [&stage.blue, &stage.green];
    let paths = ["host".to_owned(), both[0].path(), both[1].path()];
    let mut daemon = stage.setup().netns(paths).start();
    let before = daemon.holdings();
    let mut status = daemon.status();
    for _ in 0..3 {
        status = daemon.status();
        status.expect_green();
    }
    for container in both {
        let there = canary(&status, container);
        let served = wait_state(&daemon, &container.path(), "serving");
        assert_eq!(there["netns"], served["netns"]);
        for family in ["ipv4", "ipv6"] {
            let way = &there[family];
            assert!(way["ok"] == true && way["latency_us"].is_u64(), "{there}");
        }
    }
    daemon.wait_holdings(&before);
    stage.blue.hello("hello").expect("is served");
    assert_eq!(daemon.only_record().rule(), "blue");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_a_listener_in_a_namespace_is_closed_behind_our_back() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path(), stage.green.path()])
        .start();
    daemon.status().expect_green();
    let served = wait_state(&daemon, &blue.path(), "serving");
    let listener = served["listeners"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|at| at.starts_with("127."))
        .expect("one of IPv4")
        .to_owned();
    let port = listener.rsplit(':').next().expect("a port");
    let mut kill = Command::new("nsenter");
    kill.arg(format!("--net={}", blue.path()))
        .args(["ss", "--kill", "-ltn4", "sport", "=", port]);
    let killed = kill.output().expect("run ss (package iproute2)");
    assert!(killed.status.success(), "{killed:?}");
    let status = daemon.status();
    status.expect_red(&["our listener", &listener, &blue.path(), "is gone"]);
    status.expect_red(&["canary over IPv4", &blue.path()]);
    assert_eq!(canary(&status, blue)["ipv6"]["ok"], true, "{status:?}");
    assert_eq!(canary(&status, &stage.green)["ipv4"]["ok"], true);
    assert_eq!(blue.hello("hello"), Err("ECONNREFUSED".to_owned()));
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_the_kernel_does_not_know_a_namespace_any_more() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let mut daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .start();
    daemon.status().expect_green();
    bpf::map_of(daemon.pid(), "NAMESPACES").remove_one();
    let status = daemon.status();
    for family in ["IPv4", "IPv6"] {
        status.expect_red(&["canary over", family, &blue.path(), "not redirected"]);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_application_of_a_served_namespace_that_connects_where_the_canary_does_is_reset() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let daemon = stage
        .setup()
        .netns(["host".to_owned(), blue.path()])
        .start();
    let served = wait_state(&daemon, &blue.path(), "serving");
    blue.script(&["connect=127.0.0.1:0", "line"]);
    let record = daemon.only_record();
    assert_eq!(record.reason(), "port-zero", "{record}");
    assert_eq!(record.netns(), served["netns"].as_u64());
}
