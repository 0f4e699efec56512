//! The machine is as it was before: whatever ran, and however it ended.

use std::{collections::BTreeSet, fs, path::PathBuf};

use aya::{
    maps::{MapData, loaded_maps},
    programs::{loaded_links, loaded_programs},
};
use harness::{World, bpf, cgroup, daemon::Setup, peer, pins, rules, sidetrack_bin, wait::holds};
use nix::sys::signal::Signal;

/// What of the machine could be changed, as far as tests that run beside this one do not.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    routes: Vec<String>,
    cgroups: BTreeSet<PathBuf>,
    namespaces: BTreeSet<PathBuf>,
    mounts: Vec<String>,
    attached: Vec<&'static str>,
    pins: Vec<PathBuf>,
}

fn look(world: &World, setup: &Setup) -> Machine {
    let netns = world.a.netns();
    let routes = [
        &["rule"][..],
        &["-6", "rule"],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
    ];
    let instance = setup.instance_name().to_owned();
    let is_ours = |path: &PathBuf| {
        let path = path.to_string_lossy();
        path.contains(&world.a.unique()) || path.contains(&instance)
    };
    let all = cgroup::descendants(&cgroup::mount_point());
    let named = fs::read_dir("/run/netns").unwrap().flatten();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let [apps, daemons] = [world.a.apps(), world.a.daemons()].map(|cgroup| cgroup.path());
    Machine {
        routes: routes.map(|words| netns.ip(words)).into(),
        cgroups: all
            .into_iter()
            .filter(|path| is_ours(path) || path.starts_with(apps) || path.starts_with(daemons))
            .collect(),
        namespaces: named
            .map(|entry| entry.path())
            .filter(|path| !path.to_string_lossy().contains("/sdt"))
            .collect(),
        mounts: mounts
            .lines()
            .filter(|line| !line.contains("/run/netns/sdt"))
            .map(str::to_owned)
            .collect(),
        attached: [apps, daemons]
            .into_iter()
            .flat_map(bpf::attached_to)
            .collect(),
        pins: pins::below(&pins::folder(&instance)),
    }
}

/// Programs, maps and links of BPF, by their ids, that no two objects ever share.
#[derive(Default, Debug)]
struct Objects {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl Objects {
    /// Those that the process has open.
    fn of(pid: i32) -> Self {
        let mut found = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
            .unwrap()
            .flatten()
        {
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            for (key, ids) in [
                ("prog_id:", &mut found.programs),
                ("map_id:", &mut found.maps),
                ("link_id:", &mut found.links),
            ] {
                let id = info.lines().find_map(|line| line.strip_prefix(key));
                ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
            }
        }
        found
    }

    /// Maps that are pinned for the instance.
    fn pinned(instance: &str) -> Self {
        let below = pins::below(&pins::folder(instance));
        let maps = below.iter().filter_map(|path| MapData::from_pin(path).ok());
        Self {
            maps: maps.map(|map| map.info().unwrap().id()).collect(),
            ..Self::default()
        }
    }

    /// The kernel frees them some time after their last user is gone.
    #[track_caller]
    fn wait_gone(&self) {
        assert!(!self.maps.is_empty(), "there were some");
        holds("programs, maps and links are gone", || {
            let programs = loaded_programs().flatten().map(|program| program.id());
            let maps = loaded_maps().flatten().map(|map| map.id());
            let links = loaded_links().flatten().map(|link| link.id());
            programs.filter(|id| self.programs.contains(id)).count()
                + maps.filter(|id| self.maps.contains(id)).count()
                + links.filter(|id| self.links.contains(id)).count()
                == 0
        });
    }
}

fn setup(world: &World) -> Setup {
    Setup::new(world, &world.a)
        .with(rules::outbound_passthrough())
        .with(rules::inbound_plain())
}

#[track_caller]
fn use_it(world: &World) {
    for to in [world.b.at(7000), world.b.at6(7000)] {
        let connect = format!("connect={to}");
        world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    }
    let connect = format!("connect={}", world.a.at(7001));
    world.b.script(&[&connect, "send=hello", "line"]).all_ok();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_detach_the_machine_is_as_before_whether_the_daemon_ran_or_was_killed() {
    let world = World::pair();
    let _far = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let _near = world.a.serve(&[world.a.at(7001)], &[]);
    let before = look(&world, &setup(&world));
    for kill in [false, true] {
        let mut daemon = setup(&world).start();
        use_it(&world);
        daemon.ask("sockets");
        daemon.ask("status");
        let objects = Objects::of(daemon.pid());
        assert!(!objects.programs.is_empty() && !objects.links.is_empty());
        if kill {
            daemon.signal(Signal::SIGKILL);
            daemon.wait_end();
            assert_ne!(
                look(&world, &setup(&world)),
                before,
                "its rules are in force"
            );
        }
        daemon.detach().expect_code(0);
        objects.wait_gone();
        assert_eq!(look(&world, &setup(&world)), before, "killed: {kill}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_detach_the_machine_is_as_before_a_guard_and_a_daemon_that_took_it_over() {
    let world = World::pair();
    let _far = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let _near = world.a.serve(&[world.a.at(7001)], &[]);
    let before = look(&world, &setup(&world));
    let guarded = setup(&world);
    guarded.guard().expect_code(0);
    let pinned = Objects::pinned(guarded.instance_name());
    assert_ne!(look(&world, &guarded), before, "its rules are in force");
    let mut daemon = guarded.start();
    use_it(&world);
    let objects = Objects::of(daemon.pid());
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    setup(&world).guard().expect_code(0);
    daemon.detach().expect_code(0);
    for objects in [objects, pinned] {
        objects.wait_gone();
    }
    assert_eq!(look(&world, &setup(&world)), before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_an_exec_that_ended_and_one_that_was_killed_the_machine_is_as_before() {
    let world = World::pair();
    let _far = world.b.serve(&[world.b.at(7000)], &[]);
    let mine = setup(&world).instance(format!("{}-exec", world.a.unique()));
    let config = mine.write().display().to_string();
    let before = look(&world, &mine);
    let peer = peer::binary().display().to_string();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [&peer, "script", &connect, "send=hello", "line", "pause"];
    let exec = [&["exec", "--config", &config, "--"][..], &steps].concat();
    let mut objects = Vec::new();
    for kill in [false, true] {
        let mut running = world.a.spawn(sidetrack_bin(), &exec);
        running.line("an answer", |line| {
            line.contains("getsockname").then_some(())
        });
        objects.push(Objects::of(running.pid()));
        if kill {
            running.signal(Signal::SIGKILL);
        }
        running.finish();
    }
    // The next one sweeps what the killed one left.
    let again = ["exec", "--config", &config, "--", "true"];
    world.a.run(sidetrack_bin(), &again).expect_code(0);
    for objects in objects {
        objects.wait_gone();
    }
    assert_eq!(look(&world, &mine), before);
}
