//! Containers, by the cgroups and the files of their runtimes: in the layouts of containerd, which
//! has a folder for each of its users, so that the tests have one too.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// A folder of containerd's bundles, removed on drop.
struct Bundles(PathBuf);

impl Bundles {
    fn create(world: &World) -> Self {
        let task = Path::new("/run/containerd/io.containerd.runtime.v2.task");
        let folder = task.join(world.a.unique());
        fs::create_dir_all(&folder).expect("make a folder of bundles");
        Self(folder)
    }

    /// Writes what the runtime is told of a container.
    fn write(&self, id: &str, name: &str) {
        let bundle = self.0.join(id);
        fs::create_dir_all(&bundle).expect("make a bundle");
        let config = format!(
            r#"{{"ociVersion":"1.1.0","process":{{"args":["peer"]}},
            "annotations":{{"io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.container-name":"{name}"}}}}"#
        );
        fs::write(bundle.join("config.json"), config).expect("write a bundle");
    }
}

impl Drop for Bundles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // Those above, if this was the only one.
        let above = self.0.ancestors().skip(1).take(2);
        above.for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

fn new_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{count:08x}{:056x}", std::process::id())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_first_connection_of_each_new_container_of_a_name_is_encrypted_and_no_other() {
    let world = World::pair();
    let bundles = Bundles::create(&world);
    let pods = world.a.apps().child("kubepods");
    let [mut a, b] = started(&world, "include = [{ container = \"web\" }]");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let rounds = (load(100), SECRET);
    let seen = Seen::NowAndThenLate;
    none_escapes(&world, &mut a, &mut server, rounds, seen, |_| {
        let id = new_id();
        bundles.write(&id, "web");
        vec![pods.child(&format!("cri-containerd-{id}.scope"))]
    });
    for round in 0..load(10) {
        let id = new_id();
        bundles.write(&id, "db");
        let db = pods.child(&format!("cri-containerd-{id}.scope"));
        let went = went(&world, &b, db.path(), &[]);
        assert_eq!(went, Went::Direct, "round {round}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_whose_name_nobody_tells_sends_nothing_until_it_is_told() {
    let world = World::pair();
    let bundles = Bundles::create(&world);
    let [a, b] = started(&world, "include = [{ container = \"we?\" }]");
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let id = new_id();
    let web = world.a.apps().child(&format!("libpod-{id}.scope"));
    let inside = web.child("container");
    let connect = format!("connect={}", world.b.at(7000));
    let capture = Capture::start(&world.a);
    for cgroup in [web.path(), inside.path()] {
        let steps = [connect.as_str(), "send=too-early", "line"];
        let ended = world.a.script_in(cgroup, &steps);
        // The end of it, if sending has met the reset already.
        let answer = ended.of("line").unwrap_or_default();
        assert_eq!(answer.as_str().unwrap_or_default(), "");
    }
    capture.stop().expect_no_plaintext("too-early");
    for record in a.wait_records(2) {
        assert_eq!(record.reason(), "container-unknown", "{record}");
    }
    assert_eq!(server.totals().1, 0, "no line arrived");
    bundles.write(&id, "web");
    assert_eq!(went(&world, &b, inside.path(), &[]), Went::Selected);
    assert_eq!(went(&world, &b, web.path(), &[]), Went::Selected);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_container_is_selected_by_its_id_whatever_its_name_is() {
    let world = World::pair();
    let id = new_id();
    let select = format!("include = [{{ container = \"{}\" }}]", &id[..12]);
    let [_a, b] = started(&world, &select);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let docker = world.a.apps().child("docker");
    let conmon = docker.child(&format!("libpod-conmon-{id}.scope"));
    assert_eq!(went(&world, &b, conmon.path(), &[]), Went::Direct);
    for cgroup in [format!("docker-{id}.scope"), id] {
        let cgroup = docker.child(&cgroup);
        assert_eq!(went(&world, &b, cgroup.path(), &[]), Went::Selected);
    }
    let other = docker.child(&new_id());
    assert_eq!(went(&world, &b, other.path(), &[]), Went::Direct);
}
