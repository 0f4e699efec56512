//! The canary of `status`.

use std::net::{Ipv4Addr, SocketAddrV4};

use harness::bpf::Foreign;

use super::*;

/// Why it did not come back over a family.
#[track_caller]
fn lost(status: &harness::Status, family: &str) -> String {
    let way = &status.json["canary"][family];
    assert_eq!(way["ok"], false, "{status:?}");
    way["why"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_canary_comes_back_over_both_families_and_leaves_no_trace() {
    let world = World::pair();
    let mut daemon = everything(&world).start();
    let before = daemon.holdings();
    for _ in 0..5 {
        let status = daemon.status();
        status.expect_green();
        for family in ["ipv4", "ipv6"] {
            let way = &status.json["canary"][family];
            assert!(
                way["ok"] == true && way["latency_us"].is_u64(),
                "{status:?}"
            );
        }
    }
    assert_eq!(daemon.status().json["counters"]["canary"], 12);
    assert_eq!(daemon.status().json["counters"]["redirected"], 0);
    assert_eq!(world.a.apps().below(), Vec::<std::path::PathBuf>::new());
    daemon.wait_holdings(&before);
    // One record of an application, and it is the first.
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    assert_eq!(
        daemon.only_record().destination(),
        world.b.at(7000).to_string()
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_canary_finds_the_family_whose_program_is_gone() {
    let world = World::pair();
    let daemon = everything(&world).start();
    bpf::detach_pinned(&pin(&daemon, "st_connect6"));
    let status = daemon.status();
    status.expect_red(&["canary over IPv6"]);
    assert!(lost(&status, "ipv6").contains("ECONNREFUSED"), "{status:?}");
    assert_eq!(status.json["canary"]["ipv4"]["ok"], true);
    assert!(daemon.records().is_empty());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_canary_finds_that_another_tool_sends_connections_elsewhere() {
    let world = World::pair();
    let apps = world.a.apps().path();
    let daemon = everything(&world).start();
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let other = Foreign::rewriting(apps, nowhere);
    let status = daemon.status();
    status.expect_red(&["canary over IPv4"]);
    assert!(
        lost(&status, "ipv4").contains("wrote another address"),
        "{status:?}"
    );
    assert!(
        status.warnings()[0].contains("(foreign) runs after ours at connect4"),
        "{status:?}"
    );
    drop(other);
    daemon.status().expect_green();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_canary_that_finds_no_listener_is_lost_and_has_no_record() {
    let world = World::pair();
    let mut daemon = everything(&world).start();
    let listeners = bpf::map_of(daemon.pid(), "LISTENERS");
    for _ in 0..8 {
        listeners.remove_one();
    }
    let status = daemon.status();
    status.expect_red(&["canary over IPv4"]);
    assert!(lost(&status, "ipv4").contains("EHOSTDOWN"), "{status:?}");
    assert!(lost(&status, "ipv6").contains("EHOSTDOWN"), "{status:?}");
    // The application's comes after the canary's, and is the first that is recorded.
    let connect = format!("connect={}", world.b.at(7000));
    let steps = world.a.script(&[&connect]);
    assert_eq!(steps.of(&connect), Err("EHOSTDOWN".to_owned()));
    assert_eq!(
        daemon.only_record().destination(),
        world.b.at(7000).to_string()
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_application_that_connects_where_the_canary_does_is_reset_and_recorded() {
    let world = World::pair();
    let daemon = everything(&world).start();
    for (count, to) in ["127.0.0.1:0", "[::1]:0"].into_iter().enumerate() {
        world.a.script(&[&format!("connect={to}"), "line"]);
        let records = daemon.wait_records(count + 1);
        assert_eq!(records[count].reason(), "port-zero");
        assert_eq!(records[count].destination(), to);
    }
    daemon.status().expect_green();
}
