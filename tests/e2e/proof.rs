//! `status` says what the kernel runs, and goes red when that is not what was meant.

use std::fs;

use harness::{Daemon, Running, World, bpf, daemon::Setup, pins, rules};
use nix::sys::signal::Signal;

mod canary;
mod explain;
mod net_cls;
mod others;
mod silent;
mod simulate;
mod tables;

/// Both directions, and a cgroup that rules tell apart.
fn everything(world: &World) -> Setup {
    let web = format!("{}/web", world.a.apps().name());
    let select = format!("[select.web]\ninclude = [{{ cgroup = \"{web}\" }}]\n");
    let denied = format!(
        "[[outbound]]\nname = \"web\"\nselect = \"web\"\nto = [\"{}/32\"]\nports = [\"9000\"]\n\
         action = \"deny\"\n",
        world.b.v4()
    );
    Setup::new(world, &world.a)
        .with(select)
        .with(rules::outbound_passthrough())
        .with(denied)
        .with(rules::inbound_plain())
}

/// What `harm` does is seen, in these words, and a restart mends it.
#[track_caller]
fn goes_red(harm: impl FnOnce(&World, &mut Daemon), words: &[&str]) {
    let world = World::pair();
    let _web = world.a.apps().child("web");
    let mut daemon = everything(&world).start();
    daemon.status().expect_green();
    harm(&world, &mut daemon);
    daemon.status().expect_red(words);
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let again = everything(&world).start();
    again.status().expect_green();
}

fn pin(daemon: &Daemon, program: &str) -> std::path::PathBuf {
    pins::folder(daemon.instance()).join("links").join(program)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_a_program_is_detached_behind_our_back() {
    let world = World::pair();
    let mut daemon = everything(&world).start();
    let links = pins::folder(daemon.instance()).join("links");
    let pinned = fs::read_dir(&links).unwrap().flatten();
    let programs: Vec<String> = pinned
        .map(|link| link.file_name().into_string().unwrap())
        .collect();
    // And sk_lookup, which is at the namespace.
    assert_eq!(programs.len(), bpf::AT_THE_ATTACH_POINT + 1, "{programs:?}");
    for program in &programs {
        daemon.status().expect_green();
        bpf::detach_pinned(&pin(&daemon, program));
        daemon.status().expect_red(&[program, "was detached"]);
        daemon.signal(Signal::SIGKILL);
        daemon.wait_end();
        // A restart mends it.
        daemon = everything(&world).start();
    }
    daemon.status().expect_green();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_nobody_is_steered_any_more() {
    goes_red(
        |_, daemon| bpf::detach_pinned(&pin(daemon, "st_sk_lookup")),
        &["st_sk_lookup", "netns", "was detached"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_another_program_is_put_into_our_link() {
    goes_red(
        |_, daemon| bpf::run_another_in(&pin(daemon, "st_connect4")),
        &["st_connect4", "not ours"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_pins_are_removed() {
    goes_red(
        |_, daemon| fs::remove_file(pin(daemon, "st_connect6")).unwrap(),
        &["pin of st_connect6 is gone"],
    );
    goes_red(
        |_, daemon| {
            let folder = pins::folder(daemon.instance());
            let map = pins::below(&folder)
                .into_iter()
                .find(|path| path.ends_with("RULES"));
            fs::remove_file(map.unwrap()).unwrap();
        },
        &["RULES", "gone"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_the_attach_point_was_made_anew() {
    goes_red(
        |world, _| {
            fs::remove_dir(world.a.apps().path().join("web")).unwrap();
            fs::remove_dir(world.a.apps().path()).unwrap();
            fs::create_dir(world.a.apps().path()).unwrap();
        },
        &["st_connect4", "made anew"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_a_listener_is_not_registered_any_more() {
    goes_red(
        |_, daemon| bpf::map_of(daemon.pid(), "LISTENERS").remove_one(),
        &["outbound listener", "registry"],
    );
    goes_red(
        |_, daemon| bpf::map_of(daemon.pid(), "INBOUND_LISTENE").remove_one(),
        &["inbound listener", "registry"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_the_kernel_decides_by_other_rules() {
    goes_red(
        |_, daemon| bpf::map_of(daemon.pid(), "ACTIVE").change_first(1),
        &["the rule set"],
    );
    goes_red(
        |_, daemon| bpf::table_of(daemon.pid(), "CGROUPS").remove_one(),
        &["table of cgroups"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_of_a_daemon_that_was_killed_says_that_its_rules_are_in_force() {
    let world = World::pair();
    let mut daemon = everything(&world).start();
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    let status = daemon.status();
    status.expect_red(&["no daemon", "rules are in force"]);
    assert_eq!(status.faults().len(), 1, "{status:?}");
    assert_eq!(status.json["state"], "no daemon");
    assert_eq!(status.json["programs"].as_array().map(Vec::len), Some(10));
    let apps = world.a.apps().path().display().to_string();
    assert_eq!(status.json["cgroup"], apps);
    assert_eq!(status.order("connect4", &apps), ["st_connect4"]);
    assert_eq!(status.order("sk_lookup", "netns"), ["st_sk_lookup"]);
    bpf::detach_pinned(&pin(&daemon, "st_connect4"));
    daemon
        .status()
        .expect_red(&["st_connect4", "attached nowhere"]);
    daemon.detach().expect_code(0);
    let mut asking = world
        .a
        .command_in(world.a.daemons().path(), harness::sidetrack_bin());
    asking.args(["status", "--instance", daemon.instance()]);
    Running::spawn(asking)
        .finish()
        .expect_code(1)
        .expect_words(&["no daemon of this instance runs;"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_of_the_guard_alone_says_that_its_rules_are_in_force() {
    let world = World::pair();
    let setup = everything(&world);
    setup.guard().expect_code(0);
    let status = setup.status();
    status.expect_red(&["no daemon", "rules are in force"]);
    assert_eq!(status.faults().len(), 1, "{status:?}");
    setup.start().status().expect_green();
}
