//! What a start would do, and what it does.

use std::{net::SocketAddrV4, os::unix::fs::MetadataExt as _};

use harness::{bpf::Foreign, netns::NetNs, until};
use serde_json::Value;

use super::*;

#[track_caller]
fn simulate(world: &World, setup: &Setup, code: i32) -> Value {
    let mut command = world
        .a
        .command_in(world.a.daemons().path(), harness::sidetrack_bin());
    command
        .args(["run", "--simulate", "--json", "--config"])
        .arg(setup.write());
    let ended = Running::spawn(command).finish().expect_code(code);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// What runs at each hook, as simulated and as the kernel says.
#[track_caller]
fn expect_same(simulated: &Value, status: &harness::Status) {
    let planned = simulated["programs"].as_array().unwrap();
    let attached = status.json["programs"].as_array().unwrap();
    let name = |one: &Value| (one["program"].clone(), one["place"].clone());
    assert_eq!(
        planned.iter().map(name).collect::<Vec<_>>(),
        attached.iter().map(name).collect::<Vec<_>>()
    );
    for one in planned {
        let order: Vec<_> = one["order"]
            .as_array()
            .unwrap()
            .iter()
            .map(|turn| turn["name"].as_str().unwrap().to_owned())
            .collect();
        let (hook, place) = (
            one["hook"].as_str().unwrap(),
            one["place"].as_str().unwrap(),
        );
        assert_eq!(order, status.order(hook, place), "{hook} at {place}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_is_simulated_is_what_is_then_attached_and_a_simulation_changes_nothing() {
    let world = World::pair();
    let apps = world.a.apps().path();
    let _above = Foreign::passing(apps.parent().unwrap());
    let _beside = Foreign::passing(apps);
    let setup = everything(&world);
    let hooks = || (bpf::attached_to(apps), world.a.daemons().below());
    let before = hooks();
    let simulated = simulate(&world, &setup, 0);
    assert_eq!(hooks(), before);
    assert!(!pins::folder(&world.a.unique()).exists());
    assert_eq!(simulated["in_force"], false);
    let mut daemon = setup.start();
    let status = daemon.status();
    status.expect_green();
    expect_same(&simulated, &status);
    assert_eq!(
        status.order("connect4", &apps.display().to_string()),
        ["foreign", "st_connect4", "foreign"]
    );
    // Over a daemon that runs, it would be refused; over what one left, it would take that over.
    let refused = simulate(&world, &everything(&world), 1)["refused"].to_string();
    assert!(refused.contains(&daemon.pid().to_string()), "{refused}");
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let again = simulate(&world, &everything(&world), 0);
    assert_eq!(again["in_force"], true);
    let restarted = everything(&world).start();
    expect_same(&again, &restarted.status());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_program_above_that_lets_nobody_beside_it_is_named_by_start_and_simulation() {
    let world = World::pair();
    let apps = world.a.apps().path();
    let above = apps.parent().unwrap();
    let other = Foreign::exclusive(above);
    let place = above.display().to_string();
    let setup = everything(&world);
    let simulated = simulate(&world, &setup, 1);
    let words = ["st_connect4", "(foreign)", &place, "BPF_F_ALLOW_MULTI"];
    for word in words {
        let refused = simulated["refused"].to_string();
        assert!(refused.contains(word), "{word}: {refused}");
    }
    setup.fails().expect_code(77).expect_words(&words);
    assert_eq!(bpf::attached_to(apps), Vec::<&str>::new());
    drop(other);
    setup.start().status().expect_green();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_program_above_that_ours_displaces_is_named_by_guard_start_and_simulation() {
    let world = World::pair();
    let apps = world.a.apps().path();
    let above = apps.parent().unwrap();
    let _server = world.b.serve(&[world.b.at(6000)], &[]);
    let to = |port| SocketAddrV4::new(world.b.v4(), port);
    let connect = format!("connect={}", to(6001));
    let connects = || world.a.script(&[&connect]).of(&connect).is_ok();
    let _other = Foreign::overridable(above, to(6000));
    assert!(connects(), "it runs, and sends that elsewhere");
    let place = above.display().to_string();
    let own = apps.display().to_string();
    let words = [
        "(foreign)",
        "connect4",
        &place,
        &own,
        "BPF_F_ALLOW_OVERRIDE",
    ];
    let said = |text: &str| words.iter().all(|word| text.contains(word));
    let simulated = simulate(&world, &everything(&world), 0);
    let warnings = simulated["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{simulated}");
    assert!(said(warnings[0].as_str().unwrap()), "{warnings:?}");
    everything(&world)
        .guard()
        .expect_code(0)
        .expect_words(&words);
    let mut daemon = everything(&world).start();
    daemon.wait_log("BPF_F_ALLOW_OVERRIDE");
    let status = daemon.status();
    status.expect_green();
    expect_same(&simulated, &status);
    assert!(!connects(), "as it was said, it does not run any more");
    // Over what is in force already, too.
    let again = simulate(
        &world,
        &everything(&world).instance(world.a.unique() + "-2"),
        0,
    );
    assert!(said(&again["warnings"].to_string()), "{again}");
    daemon.detach().expect_code(0);
    assert!(connects(), "it runs again");
}

/// Listening TCP sockets of a namespace, as ss(8) counts them.
#[track_caller]
fn listening(world: &World, netns: &NetNs) -> u64 {
    let inside = format!("--net={}", netns.path());
    let said = world.a.run("nsenter", &[&inside, "ss", "-Hltn"]);
    said.expect_code(0).stdout.lines().count() as u64
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_simulation_shows_what_is_then_listened_on_in_which_namespace_and_what_is_said_of_datagrams() {
    let world = World::pair();
    let container = NetNs::create(format!("{}-c", world.a.unique()));
    let nowhere = format!("/run/netns/{}-nowhere", world.a.unique());
    let gateway = "[gateway]\nlisten = \"[::]:15443\"\nidentity = \"own\"\n\
                   [[egress]]\nname = \"api\"\nidentity = [\"any\"]\nports = [\"7000\"]\n\
                   action = \"allow\"\n";
    let quic = "[[outbound]]\nname = \"quic\"\nto = [\"0.0.0.0/0\"]\nports = [\"443\"]\n\
                protocol = \"udp\"\naction = \"deny\"\n";
    let served = "[[inbound]]\nname = \"everywhere\"\nports = [\"6000\"]\naccept = [\"plain\"]\n\
                  netns = \"served\"\n";
    let entries = ["host".to_owned(), container.path(), nowhere.clone()];
    let setup = everything(&world).with(gateway).with(quic).with(served);
    let setup = setup.netns(entries);
    let simulated = simulate(&world, &setup, 0);
    assert_eq!(simulated["udp"]["quic"], "deny");
    assert_eq!(simulated["inbound"]["in"], "7000-7999");
    assert_eq!(simulated["egress"][0], "api");
    let routes = simulated["routes"].to_string();
    assert!(routes.contains("local 254.77.77.0/24"), "{routes}");
    let pinned = pins::folder(setup.instance_name()).display().to_string();
    assert_eq!(simulated["pins"], pinned);
    let namespaces = simulated["namespaces"].as_array().unwrap();
    let absent = namespaces.iter().find(|one| one["entry"] == nowhere);
    let why = absent.unwrap()["otherwise"].as_str().unwrap();
    assert!(why.contains("No such file"), "{why}");
    let listeners = simulated["listeners"].as_array().unwrap().clone();
    let inode = fs::metadata(container.path()).unwrap().ino();
    let inside = format!("local 254.77.77.0/24 dev lo, table local, in net:[{inode}]");
    assert!(routes.contains(&inside), "{routes}");
    let daemon = setup.start();
    for (entry, netns) in [
        ("host".to_owned(), world.a.netns()),
        (container.path(), &container),
    ] {
        let of_it = namespaces.iter().find(|one| one["entry"] == entry);
        let namespace = &of_it.unwrap()["found"][0];
        let meant: u64 = listeners
            .iter()
            .filter(|one| one["namespace"] == *namespace && one["takes"] != "control")
            .map(|one| one["count"].as_u64().unwrap())
            .sum();
        until(&format!("{meant} listeners at {entry}"), || {
            (listening(&world, netns) == meant).then_some(())
        });
    }
    let status = daemon.status();
    status.expect_green();
    let last = simulated["programs"].as_array().and_then(|all| all.last());
    assert_eq!(last.unwrap()["place"], format!("net:[{inode}]"));
    expect_same(&simulated, &status);
}
