//! Network namespaces that are selected, or not, by what names them.

use std::{path::PathBuf, process::Command};

use harness::{
    bpf, holds,
    netns::NetNs,
    peer::{binary, parse},
    until,
};
use serde_json::Value;

use super::*;

/// A daemon's host without a wire, and a far one to which any number of namespaces have one.
struct Stage {
    world: World,
    /// Where one of them is mounted in turn.
    path: PathBuf,
}

/// A namespace with a wire to the far host.
struct Near {
    netns: NetNs,
}

impl Stage {
    fn set() -> Self {
        let world = World::unwired();
        let far = world.b.netns();
        far.ip(&["link", "add", "eth0", "type", "bridge"]);
        world.b.configure_wire();
        let path = world.a.write("named", "");
        Self { world, path }
    }

    fn daemons(&self, select: &str) -> [Setup; 2] {
        let select = select.replace("NAMED", &self.path.display().to_string());
        setups(&self.world, &select)
    }

    /// One more namespace, with an address that ends so.
    fn near(&self, name: &str, last: u8) -> Near {
        let netns = NetNs::create(format!("{}-{name}", self.world.a.unique()));
        let far = self.world.b.netns();
        let port = format!("v{name}");
        let wire = ["type", "veth", "peer", "name", &port, "netns", far.name()];
        netns.ip(&[&["link", "add", "eth0"], &wire[..]].concat());
        far.ip(&["link", "set", &port, "master", "eth0", "up"]);
        netns.ip(&["addr", "add", &format!("10.88.0.{last}/24"), "dev", "eth0"]);
        netns.ip(&["link", "set", "eth0", "up"]);
        Near { netns }
    }

    /// Mounts `near` at the path, and runs a script in it at once, by that path.
    fn mount_and(&self, near: &Near, steps: &[&str]) -> Vec<Value> {
        self.unmount();
        let path = self.path.display().to_string();
        let mut command = self.world.a.command("sh");
        command
            .args([
                "-c",
                r#"mount --bind "$1" "$2" && shift && exec nsenter --net="$@""#,
            ])
            .args(["sh", &near.netns.path(), &path])
            .args([binary().display().to_string().as_str(), "script"])
            .args(steps);
        said(command)
    }

    fn mount(&self, near: &Near) {
        self.unmount();
        let status = Command::new("mount")
            .arg("--bind")
            .args([PathBuf::from(near.netns.path()), self.path.clone()])
            .status();
        assert!(status.expect("run mount").success());
    }

    fn unmount(&self) {
        let _ = Command::new("umount")
            .arg("--quiet")
            .arg(&self.path)
            .status();
    }

    fn script(&self, near: &Near, steps: &[&str]) -> Vec<Value> {
        let mut command = self.world.a.command("nsenter");
        command
            .arg(format!("--net={}", near.netns.path()))
            .arg(binary())
            .arg("script")
            .args(steps);
        said(command)
    }

    /// How a connection from there goes out, once it does.
    #[track_caller]
    fn went(&self, b: &Daemon, near: &Near) -> Went {
        let before = b.records().len();
        let connect = format!("connect={}", self.world.b.at(7000));
        let steps = [connect.as_str(), "send=hello", "line", "close"];
        until("its namespace is known", || {
            let errno = errno(&self.script(near, &steps));
            assert!(
                errno.is_none() || errno.as_deref() == Some("EHOSTDOWN"),
                "{errno:?}"
            );
            errno.is_none().then_some(())
        });
        recorded(b, before)
    }

    #[track_caller]
    fn explain(&self, a: &Daemon, args: &[&str]) -> Value {
        let mut command = self
            .world
            .a
            .command_in(self.world.a.daemons().path(), harness::sidetrack_bin());
        let to = self.world.b.at(7000).to_string();
        command.args(["explain", &to, "--json"]);
        if !args.contains(&"--pid") {
            command.args(["--cgroup", &self.world.a.apps().name()]);
        }
        command
            .args(["--instance", a.instance()])
            .arg("--runtime-dir")
            .arg(a.runtime_dir())
            .args(args);
        let ended = Running::spawn(command).finish().expect_code(0);
        serde_json::from_str(&ended.stdout).expect("JSON")
    }

    /// Waits until the daemon has seen which namespace is at the path.
    #[track_caller]
    fn wait_named(&self, a: &Daemon, near: &Near) {
        let path = self.path.display().to_string();
        holds("the namespace has its name", || {
            let said = self.explain(a, &["--netns", &near.netns.path()]);
            said["explained"][0]["called"]["known"] == serde_json::json!([path])
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn said(command: Command) -> Vec<Value> {
    let ended = Running::spawn(command).finish().expect_code(0);
    ended.stdout.lines().filter_map(parse).collect()
}

/// Of the first step that failed.
fn errno(said: &[Value]) -> Option<String> {
    let mut failed = said.iter().filter_map(|step| step["errno"].as_str());
    failed.next().map(str::to_owned)
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    daemon.ask("status")["counters"][name]
        .as_u64()
        .expect("a counter")
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn of_two_namespaces_with_the_same_address_the_one_that_a_path_names_is_selected() {
    let stage = Stage::set();
    let (one, two) = (stage.near("one", 1), stage.near("two", 1));
    stage.mount(&one);
    let [a, b] = stage.daemons("include = [{ netns = [\"NAMED\"] }]");
    let path = stage.path.display().to_string();
    let [a, b] = [a.netns(["host", "selected", &path]), b].map(Setup::start);
    let _server = stage.world.b.serve(&[stage.world.b.at(7000)], &[]);
    // Both have the address on one wire: only one is up at a time.
    two.netns.ip(&["link", "set", "eth0", "down"]);
    assert_eq!(stage.went(&b, &one), Went::Selected);
    one.netns.ip(&["link", "set", "eth0", "down"]);
    two.netns.ip(&["link", "set", "eth0", "up"]);
    stage.world.b.netns().ip(&["neigh", "flush", "dev", "eth0"]);
    assert_eq!(stage.went(&b, &two), Went::Direct);
    assert_eq!(counter(&a, "other_namespace_blocked"), 0, "both are known");
    let namespaces = a.ask("status")["namespaces"].clone();
    assert_eq!(namespaces.as_array().map(Vec::len), Some(1), "{namespaces}");
    // The daemon's own is no other.
    assert_eq!(
        stage.explain(&a, &[])["explained"][0]["decision"]["verdict"],
        "unmatched"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_exclusion_by_path_wins_and_a_namespace_that_nobody_knows_is_refused_until_it_is_known() {
    let stage = Stage::set();
    let one = stage.near("one", 11);
    stage.mount(&one);
    let [a, b] = stage
        .daemons("include = [{ cgroup = \"APPS\" }]\nexclude = [{ netns = [\"NAMED\", \"host\"] }]")
        .map(Setup::start);
    let _server = stage.world.b.serve(&[stage.world.b.at(7000)], &[]);
    assert_eq!(stage.went(&b, &one), Went::Direct);
    assert_eq!(counter(&a, "other_namespace_blocked"), 0, "it was known");
    let two = stage.near("two", 12);
    let connect = format!("connect={}", stage.world.b.at(7000));
    let first = errno(&stage.script(&two, &[&connect]));
    assert_eq!(first.as_deref(), Some("EHOSTDOWN"));
    assert_eq!(a.only_record().reason(), "other-namespace");
    assert_eq!(stage.went(&b, &two), Went::Selected);
    assert_eq!(stage.went(&b, &one), Went::Direct);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_namespace_that_is_made_mounted_and_used_at_once_sends_nothing_plain() {
    let stage = Stage::set();
    let [a, b] = stage.daemons("include = [{ netns = [\"NAMED\"] }]");
    let [mut a, _b] = [a, b].map(Setup::start);
    let mut server = stage.world.b.serve(&[stage.world.b.at(7000)], &[]);
    let connect = format!("connect={}", stage.world.b.at(7000));
    let capture = Capture::start(&stage.world.b);
    let rounds = load(60);
    let mut last = None;
    for round in 0..rounds {
        drop(last.take());
        let near = stage.near(&format!("n{round}"), 1);
        stage.world.b.netns().ip(&["neigh", "flush", "dev", "eth0"]);
        let late = round % 5 == 4;
        if late {
            a.suspend();
        }
        let send = format!("send={SECRET}-{round}");
        let steps = [connect.as_str(), send.as_str(), "line"];
        let mut went = errno(&stage.mount_and(&near, &steps));
        if late {
            a.signal(Signal::SIGCONT);
        }
        assert_eq!(went.as_deref(), Some("EHOSTDOWN"), "round {round}");
        until("it is redirected", || {
            went = errno(&stage.script(&near, &steps));
            went.is_none().then_some(())
        });
        last = Some(near);
    }
    assert_eq!(server.totals(), (rounds, rounds), "each line arrives");
    capture.stop().expect_encrypted(SECRET);
    assert_eq!(a.stop(), 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_path_that_comes_to_name_another_namespace_selects_that_one() {
    let stage = Stage::set();
    let (one, two) = (stage.near("one", 11), stage.near("two", 12));
    let [a, b] = stage
        .daemons("include = [{ netns = [\"NAMED\"] }]")
        .map(Setup::start);
    let _server = stage.world.b.serve(&[stage.world.b.at(7000)], &[]);
    // Each is known as another one first.
    for near in [&one, &two] {
        assert_eq!(stage.went(&b, near), Went::Direct);
    }
    for (named, other) in [(&one, &two), (&two, &one)] {
        stage.mount(named);
        stage.wait_named(&a, named);
        assert_eq!(stage.went(&b, named), Went::Selected);
        assert_eq!(stage.went(&b, other), Went::Direct);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn namespaces_that_somebody_makes_without_end_are_forgotten_when_they_are_gone() {
    let stage = Stage::set();
    let [mut a, _b] = stage
        .daemons("include = [{ netns = [\"NAMED\"] }]")
        .map(Setup::start);
    let connect = format!("connect={}", stage.world.b.at(7000));
    let entries = |a: &mut Daemon| -> usize {
        let maps = bpf::hash_maps_of(a.pid());
        maps.iter().map(|(_, entries)| entries).sum()
    };
    let before = entries(&mut a);
    for round in 0..load(40) {
        let near = stage.near(&format!("n{round}"), 1);
        until("it is known", || {
            let errno = errno(&stage.script(&near, &[&connect]));
            (errno.as_deref() != Some("EHOSTDOWN")).then_some(())
        });
    }
    // Other tests have namespaces too, but not as many.
    holds("the kernel knows of none any more", || {
        entries(&mut a) < before + 20
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_is_explained_of_a_namespace_is_what_the_kernels_tables_say() {
    let stage = Stage::set();
    let one = stage.near("one", 11);
    stage.mount(&one);
    let [a, b] = stage
        .daemons("include = [{ netns = [\"NAMED\"] }]")
        .map(Setup::start);
    let two = stage.near("two", 12);
    let _server = stage.world.b.serve(&[stage.world.b.at(7000)], &[]);
    let path = stage.path.display().to_string();
    let named = stage.explain(&a, &["--netns", &path]);
    assert_eq!(named["explained"][0]["decision"]["rule"], "out", "{named}");
    let unknown = stage.explain(&a, &["--netns", &two.netns.path()]);
    assert_eq!(unknown["explained"][0]["called"], "unknown", "{unknown}");
    assert_eq!(unknown["explained"][0]["decision"]["verdict"], "redirect");
    assert_eq!(unknown["explained"][0]["decision"]["fail"], "block");
    assert_eq!(stage.went(&b, &two), Went::Direct);
    let other = stage.explain(&a, &["--netns", &two.netns.path()]);
    assert_eq!(other["explained"][0]["decision"]["verdict"], "unmatched");
    let mut command = stage.world.a.command("nsenter");
    command.args([&format!("--net={path}"), "sleep", "600"]);
    let resident = Running::spawn(command);
    let pid = resident.pid().to_string();
    let of_process = until("the process is in the namespace", || {
        let said = stage.explain(&a, &["--pid", &pid]);
        (said["explained"][0]["decision"]["rule"] == "out").then_some(said)
    });
    for said in [&named, &unknown, &other, &of_process] {
        assert_eq!(said["kernel"][0], "agrees", "{said}");
    }
}
