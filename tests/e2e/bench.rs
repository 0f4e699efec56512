//! The benchmark: the paths that it measures are what they say, and nothing of them stays.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use harness::{cgroup, holds, sidetrack_bin};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sidetrack_bench::{
    Trouble,
    load::Load,
    measured::{Measured, Usage},
    path::{self, Kind, Ready, Spec},
    stage::Room,
};

mod report;

fn room() -> Room {
    Room::open(sidetrack_bin()).unwrap_or_else(|error| panic!("{error}"))
}

fn try_set_up(
    room: &Room,
    kind: Kind,
    rules: u32,
    build: Option<PathBuf>,
) -> Result<Ready, Trouble> {
    path::set_up(&Spec { kind, rules, build }, room)
}

#[track_caller]
fn set_up(room: &Room, kind: Kind, rules: u32) -> Ready {
    try_set_up(room, kind, rules, None).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

#[track_caller]
fn slice(ready: &mut Ready, load: &Load) -> Measured {
    let measured = ready.run(load).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(measured.sample.failed, 0, "{:?}", measured.sample.reason);
    measured
}

/// The name of all that a room has.
fn name(room: &Room) -> String {
    let name = room.folder().file_name().unwrap();
    name.to_str().unwrap().to_owned()
}

/// What there is on this machine of the room of this name.
fn left(name: &str) -> Vec<PathBuf> {
    // Instances' names are short.
    let mark = name.trim_start_matches("sidetrack-");
    let folders = [
        PathBuf::from("/run/netns"),
        PathBuf::from("/sys/fs/bpf/sidetrack"),
        cgroup::mount_point(),
        std::env::temp_dir(),
    ];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains(mark))
        .collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_path_carries_connections_and_tells_what_its_proxies_used() {
    let room = room();
    let (alone, carried) = (
        [Kind::Direct, Kind::IptablesPassed],
        [
            Kind::Redirected,
            Kind::Mtls,
            Kind::MtlsTls,
            Kind::MtlsFull,
            Kind::RedirectRelay,
            Kind::IptablesRelay,
        ],
    );
    for kind in alone {
        let measured = slice(&mut set_up(&room, kind, 3), &Load::FirstByte { count: 50 });
        assert_eq!(measured.sample.done, 50, "{kind}");
        assert_eq!(
            measured.proxies,
            Usage::default(),
            "{kind}: nobody is there"
        );
    }
    for kind in carried {
        let mut ready = set_up(&room, kind, 3);
        let measured = slice(&mut ready, &Load::FirstByte { count: 50 });
        assert_eq!(measured.sample.done, 50, "{kind}");
        assert!(
            !measured.proxies.cpu.is_zero(),
            "{kind}: {:?}",
            measured.proxies
        );
        assert!(
            measured.proxies.memory > 0,
            "{kind}: {:?}",
            measured.proxies
        );
        let none = slice(&mut ready, &Load::Idle { connections: 0 });
        let many = slice(&mut ready, &Load::Idle { connections: 100 });
        assert!(
            many.proxies.memory > none.proxies.memory,
            "{kind}: open connections take memory, {} and {}",
            none.proxies.memory,
            many.proxies.memory
        );
    }
    for kind in [Kind::Unselected, Kind::Passed] {
        let measured = slice(&mut set_up(&room, kind, 3), &Load::FirstByte { count: 50 });
        assert_eq!(measured.sample.done, 50, "{kind}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn handshakes_are_made_with_the_daemon_of_the_servers_host_and_not_where_nothing_ends_tls() {
    let room = room();
    let handshakes = Load::Handshake {
        resumed: false,
        connections: 2,
        millis: 200,
    };
    let mut pair = set_up(&room, Kind::Mtls, 1);
    assert!(slice(&mut pair, &handshakes).sample.done > 0);
    let Err(error) = set_up(&room, Kind::Direct, 1).run(&handshakes) else {
        panic!("there were handshakes with nobody");
    };
    let error = error.to_string();
    assert!(error.contains("nothing ends TLS"), "{error}");
}

/// A build of `sidetrack` that takes one action of its configuration for another.
fn misled(folder: &Path, written: &str, taken: &str) -> PathBuf {
    let path = folder.join(format!("{written}-is-{taken}"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = run ] && sed -i 's/action = \"{written}\"/action = \"{taken}\"/' \"$3\"\nexec {} \"$@\"\n",
        sidetrack_bin().display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn nothing_is_measured_on_a_path_that_is_not_what_it_is_said_to_be() {
    let room = room();
    let cases = [
        (
            Kind::Redirected,
            "passthrough",
            "ignore",
            "went past a proxy",
        ),
        (
            Kind::Passed,
            "ignore",
            "passthrough",
            "should be left alone",
        ),
    ];
    for (kind, written, taken, why) in cases {
        let build = misled(room.folder(), written, taken);
        let Err(error) = try_set_up(&room, kind, 1, Some(build)) else {
            panic!("{kind}: {written} was taken for {taken}, and nobody has seen it");
        };
        assert!(error.to_string().contains(why), "{kind}: {error}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn as_many_rules_are_in_force_as_a_path_has() {
    let room = room();
    let _ready = set_up(&room, Kind::IptablesRelay, 1_000);
    let listed = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}-0-client", name(&room)))
        .args(["--", "iptables", "-t", "nat", "-S", "OUTPUT"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rules: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("-A"))
        .collect();
    assert_eq!(rules.len(), 1_001, "with the one that exempts the proxy");
    assert!(rules[0].contains("--uid-owner"), "{}", rules[0]);
    assert!(rules[1_000].contains("-d 10.99.0.2/32"), "{}", rules[1_000]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_that_dies_is_named_with_its_log() {
    let room = room();
    let mut ready = set_up(&room, Kind::Redirected, 1);
    let proxy = cgroup::mount_point()
        .join(name(&room))
        .join("0/client/proxy");
    let of = |folder: &Path| fs::read_to_string(folder.join("cgroup.procs")).unwrap();
    let ids: String = cgroup::descendants(&proxy)
        .iter()
        .map(|folder| of(folder))
        .collect();
    let id = ids
        .lines()
        .next()
        .expect("the daemon is there")
        .parse()
        .unwrap();
    kill(Pid::from_raw(id), Signal::SIGKILL).unwrap();
    let Err(error) = ready.run(&Load::FirstByte { count: 1 }) else {
        panic!("nobody carries it, and nobody has seen it");
    };
    let error = error.to_string();
    assert!(error.contains("SIGKILL"), "{error}");
    assert!(
        error.contains("ready: connections are redirected"),
        "{error}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn nothing_of_a_room_is_left_when_its_paths_and_it_are_gone() {
    let room = room();
    let ready = [Kind::Mtls, Kind::IptablesRelay].map(|kind| set_up(&room, kind, 3));
    let name = name(&room);
    let there = left(&name);
    let pinned = there.iter().filter(|path| path.starts_with("/sys/fs/bpf"));
    assert_eq!(pinned.count(), 2, "two daemons: {there:?}");
    drop(ready);
    drop(room);
    assert_eq!(left(&name), Vec::<PathBuf>::new());
}

/// A run of the command on which a daemon stands, and what the names of all that it has contain.
fn running() -> (Child, String) {
    let child = Command::new(sidetrack_bin())
        .args(["bench", "--path", "redirected", "--profile", "quick"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mark = format!("bench-{}-", child.id());
    holds("the run has a daemon", || {
        let pins = Path::new("/sys/fs/bpf/sidetrack");
        left(&mark).iter().any(|path| path.starts_with(pins))
    });
    (child, mark)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_interrupted_run_takes_away_all_that_it_has_made() {
    for (number, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (mut child, mark) = running();
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(left(&mark), Vec::<PathBuf>::new());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_a_killed_run_has_left_is_taken_away_by_the_next_one() {
    let (mut child, mark) = running();
    assert!(left(&mark).len() >= 4, "the test's own proof");
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let room = room();
    assert_eq!(left(&mark), Vec::<PathBuf>::new());
    assert!(!left(&name(&room)).is_empty(), "its own stays");
}
