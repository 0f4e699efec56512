//! Programs of other tools at the same hooks.

use std::net::{Ipv4Addr, SocketAddrV4};

use harness::bpf::Foreign;

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn other_tools_programs_before_and_after_ours_are_shown_in_their_order_and_change_nothing() {
    let world = World::pair();
    let apps = world.a.apps().path();
    let place = apps.display().to_string();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let before = Foreign::passing(apps);
    let daemon = everything(&world).start();
    let connect = format!("connect={}", world.b.at(7000));
    let ask = || world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    ask();
    let status = daemon.status();
    status.expect_green();
    assert_eq!(status.order("connect4", &place), ["foreign", "st_connect4"]);
    assert_eq!(status.warnings(), Vec::<String>::new());
    let after = Foreign::passing(apps);
    ask();
    let status = daemon.status();
    status.expect_green();
    assert_eq!(
        status.order("connect4", &place),
        ["foreign", "st_connect4", "foreign"]
    );
    let warnings = status.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("(foreign) runs after ours at connect4"),
        "{warnings:?}"
    );
    assert_eq!(daemon.wait_records(2).len(), 2);
    drop((before, after));
    assert_eq!(daemon.status().order("connect4", &place), ["st_connect4"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_program_that_rewrites_before_ours_is_followed_by_the_rules() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    // What a load balancer in the kernel does: a service's address to that of one of its servers.
    let to = SocketAddrV4::new(world.b.v4(), 7000);
    let _before = Foreign::rewriting(world.a.apps().path(), to);
    let daemon = everything(&world).start();
    let service = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 80);
    let connect = format!("connect={service}");
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    assert_eq!(
        daemon.only_record().destination(),
        world.b.at(7000).to_string()
    );
}
