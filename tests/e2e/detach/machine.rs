//! The machine is as it was before: whatever ran, and however it ended.

use std::{collections::BTreeSet, fs, path::PathBuf};

use aya::{
    maps::{MapData, loaded_maps},
    programs::{loaded_links, loaded_programs},
};
use harness::{
    Daemon, Running, World, bpf,
    cgroup::{self, Cgroup},
    daemon::Setup,
    peer::{self, Server},
    pins,
    proxies::{Proxy, redirect},
    rules, sidetrack_bin,
    wait::holds,
};
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

fn look(both: &Both, setup: &Setup) -> Machine {
    let world = &both.world;
    let places = [world.a.netns(), both.container.a.netns()];
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
        routes: places
            .into_iter()
            .flat_map(|netns| routes.map(|words| netns.ip(words)))
            .collect(),
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
        attached: [apps, daemons, both.own.path()]
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

/// Two namespaces: that of the daemon, and one in which applications of its cgroups are.
struct Both {
    world: World,
    container: World,
    /// The cgroup of the other proxy.
    own: Cgroup,
    _proxy: Proxy,
    _servers: Vec<Server>,
}

const OTHERS: [&str; 2] = ["127.0.0.1:12345", "[::1]:12345"];

impl Both {
    fn make() -> Self {
        let (world, container) = (World::pair(), World::pair());
        let own = world.a.apps().child("proxy");
        let proxy = Proxy::start(&world.a, &own, &OTHERS, &[]);
        let far = |world: &World| {
            let ports = [world.b.at(7000), world.b.at6(7000), world.b.at(6500)];
            world.b.serve(&ports, &[])
        };
        let mut inside = container
            .a
            .command_in(world.a.apps().path(), peer::binary());
        inside.args(["serve", "--listen", &container.a.at(6001).to_string()]);
        let near = world.a.serve(&[world.a.at(7001)], &[]);
        let servers = vec![far(&world), far(&container), near, Server::start(inside)];
        Self {
            world,
            container,
            own,
            _proxy: proxy,
            _servers: servers,
        }
    }

    fn setup(&self) -> Setup {
        let inside = "[[inbound]]\nname = \"inside\"\nports = [\"6001\"]\naccept = [\"plain\"]\n\
                      netns = \"served\"\n";
        Setup::new(&self.world, &self.world.a)
            .netns(["host".to_owned(), self.container.a.netns().path()])
            .with(rules::outbound_passthrough())
            .with(rules::inbound_plain())
            .with(inside)
            .with(redirect("other", &OTHERS, "6500"))
    }

    /// A connection by each of its rules.
    #[track_caller]
    fn use_it(&self, daemon: &Daemon) {
        let (world, container) = (&self.world, &self.container);
        daemon.wait_proxy("other", "serving");
        for to in [world.b.at(7000), world.b.at6(7000), world.b.at(6500)] {
            let connect = format!("connect={to}");
            world.a.script(&[&connect, "send=hello", "line"]).all_ok();
        }
        let connect = format!("connect={}", world.a.at(7001));
        world.b.script(&[&connect, "send=hello", "line"]).all_ok();
        let connect = format!("connect={}", container.a.at(6001));
        let steps = [connect.as_str(), "send=hello", "line"];
        container.b.script(&steps).all_ok();
        let routes = container.a.netns().ip(&["route", "show", "table", "all"]);
        assert!(routes.contains("254.77.77.0/24"), "{routes}");
    }

    /// Kills one while its canary is on its way, whose cgroup is left then.
    #[track_caller]
    fn kill_with_its_canary(&self, mut daemon: Daemon) -> Daemon {
        let name = format!("sidetrack-canary-{}", daemon.instance());
        let canary = self.world.a.apps().path().join(name);
        for _ in 0..50 {
            let mut command = self
                .world
                .a
                .command_in(self.world.a.daemons().path(), sidetrack_bin());
            command
                .args(["status", "--instance", daemon.instance(), "--runtime-dir"])
                .arg(daemon.runtime_dir());
            let mut asking = Running::spawn(command);
            while !canary.exists() && !asking.has_ended() {
                std::hint::spin_loop();
            }
            daemon.signal(Signal::SIGKILL);
            daemon.wait_end();
            asking.finish();
            if canary.exists() {
                return daemon;
            }
            daemon = self.setup().start();
        }
        panic!("the canary's cgroup was each time gone before the daemon");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_detach_the_machine_is_as_before_whether_the_daemon_ran_or_was_killed() {
    let both = Both::make();
    let before = look(&both, &both.setup());
    for kill in [false, true] {
        let mut daemon = both.setup().start();
        both.use_it(&daemon);
        daemon.ask("sockets");
        daemon.ask("status");
        let objects = Objects::of(daemon.pid());
        assert!(!objects.programs.is_empty() && !objects.links.is_empty());
        if kill {
            daemon = both.kill_with_its_canary(daemon);
            let left = look(&both, &both.setup());
            assert_ne!(left, before, "its rules are in force");
        }
        daemon.detach().expect_code(0);
        objects.wait_gone();
        assert_eq!(look(&both, &both.setup()), before, "killed: {kill}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_detach_the_machine_is_as_before_a_guard_and_a_daemon_that_took_it_over() {
    let both = Both::make();
    let before = look(&both, &both.setup());
    let guarded = both.setup();
    guarded.guard().expect_code(0);
    let pinned = Objects::pinned(guarded.instance_name());
    assert_ne!(look(&both, &guarded), before, "its rules are in force");
    let mut daemon = guarded.start();
    both.use_it(&daemon);
    let objects = Objects::of(daemon.pid());
    daemon.signal(Signal::SIGKILL);
    daemon.wait_end();
    both.setup().guard().expect_code(0);
    daemon.detach().expect_code(0);
    for objects in [objects, pinned] {
        objects.wait_gone();
    }
    assert_eq!(look(&both, &both.setup()), before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn after_an_exec_that_ended_and_one_that_was_killed_the_machine_is_as_before() {
    let both = Both::make();
    let world = &both.world;
    let mine = both.setup().instance(format!("{}-exec", world.a.unique()));
    let config = mine.write().display().to_string();
    let before = look(&both, &mine);
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
    assert_eq!(look(&both, &mine), before);
}
