//! Namespaces that the configuration names: they are served before anybody connects in them.

use std::os::unix::fs::MetadataExt as _;

use harness::{holds, netns::NetNs, process::Running};

use super::{Container, Stage, namespaces, wait_state};

/// A process in the container's namespace and cgroup.
fn resident(container: &Container) -> Running {
    let mut command = container
        .world
        .a
        .command_in(container.cgroup.path(), "sleep");
    command.arg("600");
    let running = Running::spawn(command);
    let inside = |path: String| std::fs::metadata(path).map(|file| file.ino());
    let wanted = inside(container.path()).expect("its namespace is there");
    holds("the process is in the namespace", || {
        inside(format!("/proc/{}/ns/net", running.pid())).is_ok_and(|found| found == wanted)
    });
    running
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_namespace_is_found_by_the_number_of_a_process_and_its_first_connection_is_served() {
    let stage = Stage::set();
    let resident = resident(&stage.blue);
    let entry = format!("pid:{}", resident.pid());
    let daemon = stage.setup().netns(["host", &entry]).start();
    stage.blue.hello("hello").expect("is served");
    assert_eq!(daemon.only_record().reason(), "");
    assert_eq!(namespaces(&daemon, &entry)[0]["state"], "serving");
    // Nobody connects by chance in a namespace that nobody named.
    for known in 2..4 {
        // Once the first is recorded, the daemon knows of it.
        assert_eq!(stage.green.hello("hello"), Err("EHOSTDOWN".to_owned()));
        let records = daemon.wait_records(known);
        assert_eq!(records[known - 1].reason(), "other-namespace");
    }
    assert_eq!(namespaces(&daemon, "").len(), 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_namespace_is_found_by_the_cgroup_of_a_process_that_starts_later() {
    let stage = Stage::set();
    let entry = format!("cgroup:{}/bl*", stage.home.a.apps().name());
    let daemon = stage.setup().netns(["host", &entry]).start();
    assert_eq!(namespaces(&daemon, "").len(), 0);
    let _resident = resident(&stage.blue);
    wait_state(&daemon, &entry, "serving");
    stage.blue.hello("hello").expect("is served");
    assert_eq!(daemon.only_record().reason(), "");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_namespace_that_comes_goes_and_comes_again_at_its_path_is_served_each_time() {
    let stage = Stage::set();
    let name = format!("{}-later", stage.home.a.unique());
    let path = format!("/run/netns/{name}");
    let daemon = stage.setup().netns(["host", &path]).start();
    let absent = wait_state(&daemon, &path, "absent");
    assert!(absent["why"].as_str().unwrap().contains("No such file"));
    let mut cookies = Vec::new();
    for _ in 0..3 {
        let later = NetNs::create(name.clone());
        let served = wait_state(&daemon, &path, "serving");
        cookies.push(served["netns"].as_u64().expect("a cookie"));
        drop(later);
        wait_state(&daemon, &path, "absent");
        holds("only its absence is left", || {
            namespaces(&daemon, &path).len() == 1
        });
    }
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), 3, "each is another one");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_namespace_whose_loopback_is_down_is_said_to_be_so_and_served_once_it_is_up() {
    let stage = Stage::set();
    let blue = &stage.blue;
    let netns = blue.world.a.netns();
    netns.ip(&["link", "set", "lo", "down"]);
    let daemon = stage.setup().start();
    assert_eq!(blue.hello("first"), Err("EHOSTDOWN".to_owned()));
    let failing = wait_state(&daemon, "selected", "not-served");
    let why = failing["why"].as_str().expect("a reason");
    assert!(why.contains("loopback interface is down"), "{why}");
    assert_eq!(blue.hello("second"), Err("EHOSTDOWN".to_owned()));
    netns.ip(&["link", "set", "lo", "up"]);
    wait_state(&daemon, "selected", "serving");
    blue.hello("third").expect("is served");
    // What was served loses its listeners, so that nothing waits for one that cannot be reached.
    netns.ip(&["link", "set", "lo", "down"]);
    wait_state(&daemon, "selected", "not-served");
    let reasons: Vec<String> = daemon
        .wait_records(3)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    assert_eq!(reasons, ["other-namespace", "other-namespace", ""]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_file_that_is_no_namespace_is_said_to_be_none() {
    let stage = Stage::set();
    let file = stage.home.a.write("no-namespace", "");
    let entry = file.display().to_string();
    let daemon = stage.setup().netns(["host", &entry]).start();
    let absent = wait_state(&daemon, &entry, "absent");
    let why = absent["why"].as_str().expect("a reason");
    assert!(why.contains("is no network namespace"), "{why}");
}
