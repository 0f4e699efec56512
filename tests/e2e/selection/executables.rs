//! What runs when it connects: by its path, which no process and no user can take.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use harness::{cgroup::Cgroup, peer};

use super::*;

mod told;

/// A folder that everybody may look into, below the root and without a link in its path.
struct Folder(PathBuf);

impl Folder {
    fn of(world: &World) -> Self {
        let path = PathBuf::from(format!("/tmp/{}-exe", world.a.unique()));
        std::fs::create_dir(&path).expect("make a folder");
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy of the peer.
    fn copy(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        // Not by this process: what another test's fork() has open for writing cannot be run.
        let copied = Command::new("cp").arg(peer::binary()).arg(&path).status();
        assert!(copied.expect("run cp").success());
        path
    }

    fn select(&self, name: &str) -> String {
        format!("include = [{{ exe = {:?} }}]", self.at(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a connection went out of the process that `command` starts, which is a script's beginning.
#[track_caller]
fn went_by(world: &World, b: &Daemon, mut command: Command) -> Went {
    let before = b.records().len();
    let connect = format!("connect={}", world.b.at(7000));
    command.args(["script", &connect, "send=hello", "line", "close"]);
    Running::spawn(command).finish().expect_code(0);
    recorded(b, before)
}

#[track_caller]
fn went_as(world: &World, b: &Daemon, program: &Path) -> Went {
    went_by(world, b, world.a.command(program))
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_executable_is_selected_by_its_whole_path_and_by_nothing_that_resembles_it() {
    let world = World::pair();
    let folder = Folder::of(&world);
    std::fs::create_dir_all(folder.at("x/usr")).expect("make folders");
    let named = folder.copy("usr");
    let [_a, b] = started(&world, &folder.select("usr"));
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    assert_eq!(went_as(&world, &b, &named), Went::Selected);
    assert_eq!(went_as(&world, &b, &peer::binary()), Went::Direct);
    for other in ["us", "usrr", "x/usr/usr", "x/usr2"] {
        let other = folder.copy(other);
        assert_eq!(went_as(&world, &b, &other), Went::Direct, "{other:?}");
    }
    let mut link = world.a.command("bash");
    link.args(["-c", r#"exec -a "$0" "$@""#]).arg(&named);
    link.arg(peer::binary());
    assert_eq!(
        went_by(&world, &b, link),
        Went::Direct,
        "its first argument"
    );
    symlink(&named, folder.at("alias")).expect("make a link");
    assert_eq!(went_as(&world, &b, &folder.at("alias")), Went::Selected);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_executable_that_is_excluded_is_not_selected_by_its_cgroup_or_user() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (app, tool) = (folder.copy("app"), folder.copy("tool"));
    let web = world.a.apps().child("web-1");
    let select = format!(
        "include = [{{ cgroup = \"APPS/web-*\" }}, {{ exe = {app:?}, uid = 1000 }}]\n\
         exclude = [{{ exe = {tool:?} }}, {{ exe = {app:?}, gid = 3000 }}]"
    );
    let [_a, b] = started(&world, &select);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let other = peer::binary();
    let went = |cgroup: &Cgroup, program: &Path, steps: &[&str]| {
        let before = b.records().len();
        let connect = format!("connect={}", world.b.at(7000));
        let mut command = world.a.command_in(cgroup.path(), program);
        command.arg("script").args(steps);
        command.args([&connect, "send=hello", "line", "close"]);
        Running::spawn(command).finish().expect_code(0);
        recorded(&b, before)
    };
    let apps = world.a.apps();
    assert_eq!(went(&web, &other, &[]), Went::Selected);
    assert_eq!(went(&web, &tool, &[]), Went::Direct, "the exclusion wins");
    assert_eq!(went(&web, &app, &[]), Went::Selected);
    assert_eq!(went(&web, &app, &["gid=3000"]), Went::Direct);
    assert_eq!(went(apps, &app, &["uid=1000"]), Went::Selected);
    assert_eq!(went(apps, &app, &[]), Went::Direct, "another user");
    assert_eq!(went(apps, &other, &["uid=1000"]), Went::Direct);
    // In a cgroup that the daemon has not seen.
    for round in 0..load(20) {
        let new = apps.child("web-2");
        assert_eq!(went(&new, &tool, &[]), Went::Direct, "round {round}");
        assert_eq!(went(&new, &other, &[]), Went::Selected, "round {round}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_loop_of_fork_exec_and_connect_is_judged_by_what_runs_at_each_connect() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (named, other) = (folder.copy("named"), folder.copy("other"));
    let [a, _b] = started(&world, &folder.select("named"));
    let mut server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let into = |path: &Path| format!("exec={}", path.display());
    let (into_named, into_other) = (into(&named), into(&other));
    let capture = Capture::start(&world.a);
    let rounds = load(200);
    for round in 0..rounds {
        let secret = format!("send={SECRET}-{round}");
        let (before, after) = (
            format!("send=before-{round}"),
            format!("send=after-{round}"),
        );
        let steps = [
            &connect,
            &before,
            "line",
            "close",
            &into_named,
            &connect,
            &secret,
            "line",
            "close",
            &into_other,
            &connect,
            &after,
            "line",
            "close",
        ];
        let mut command = world.a.command(&other);
        command.arg("script").args(steps);
        Running::spawn(command).finish().expect_code(0);
    }
    assert_eq!(
        server.totals(),
        (3 * rounds, 3 * rounds),
        "each line arrives"
    );
    let wire = capture.stop();
    wire.expect_encrypted(SECRET);
    assert!(wire.contains("before-0") && wire.contains("after-0"));
    let records = a.wait_records(rounds as usize);
    assert_eq!(
        records.len(),
        rounds as usize,
        "the others go past all rules"
    );
    for record in records {
        assert_eq!(
            (record.rule(), record.own_identity(), record.reason()),
            ("out", OURS, ""),
            "{record}"
        );
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_executable_that_is_replaced_is_selected_as_it_runs_and_as_it_is_started_again() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let app = folder.copy("app");
    let [_a, b] = started(&world, &folder.select("app"));
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let mut old = world.a.spawn(
        &app,
        &[
            "script",
            "tcp4",
            "pause",
            &connect,
            "send=hello",
            "line",
            "close",
            "pause",
            &connect,
            "send=hello",
            "line",
            "close",
        ],
    );
    old.line("it runs", |line| line.contains("tcp4").then_some(()));
    std::fs::rename(folder.copy("app.new"), &app).expect("replace it");
    old.tell("go on");
    b.wait_records(1);
    assert_eq!(recorded(&b, 0), Went::Selected, "the old one");
    assert_eq!(went_as(&world, &b, &app), Went::Selected, "the new one");
    std::fs::remove_file(&app).expect("remove it");
    old.tell("go on");
    old.finish().expect_code(0);
    assert_eq!(recorded(&b, 2), Went::Selected, "one that is removed");
    // A name that is there again, and a file of that name that was another before.
    std::fs::rename(folder.copy("other"), &app).expect("rename another");
    assert_eq!(went_as(&world, &b, &app), Went::Selected);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_link_stands_for_where_it_leads_and_for_where_it_leads_later() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (one, two) = (folder.copy("one"), folder.copy("two"));
    let link = folder.at("link");
    symlink("one", &link).expect("make a link");
    let [_a, b] = started(&world, &folder.select("link"));
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    assert_eq!(went_as(&world, &b, &link), Went::Selected);
    assert_eq!(went_as(&world, &b, &one), Went::Selected);
    assert_eq!(went_as(&world, &b, &two), Went::Direct);
    symlink("two", folder.at("next")).expect("make a link");
    std::fs::rename(folder.at("next"), &link).expect("replace the link");
    let since = Instant::now();
    while went_as(&world, &b, &link) == Went::Direct {
        assert!(since.elapsed() < Duration::from_secs(10), "it is followed");
    }
    assert_eq!(went_as(&world, &b, &two), Went::Selected);
    assert_eq!(went_as(&world, &b, &one), Went::Direct);
    // A whole path is a name too: nobody runs it by a link any more.
    std::fs::rename(&one, &link).expect("put a file in its place");
    assert_eq!(went_as(&world, &b, &link), Went::Selected);
}

/// Runs `program` where the shell has done `before`.
fn within(world: &World, unshare: &[&str], before: &str, program: &Path) -> Command {
    let mut command = world.a.command("unshare");
    command.args(unshare).args(["sh", "-ec"]);
    command
        .arg(format!("{before}\nexec \"$0\" \"$@\""))
        .arg(program);
    command
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_path_counts_in_roots_mount_namespaces_and_in_nobodys_own() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (named, other) = (folder.copy("named"), folder.copy("other"));
    std::fs::create_dir(folder.at("place")).expect("make a folder");
    let inside = folder.at("place/app");
    let select = format!("include = [{{ exe = {named:?} }}, {{ exe = {inside:?} }}]");
    let [_a, b] = started(&world, &select);
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let over = format!("mount --bind {} {}", other.display(), named.display());
    let place = folder.at("place");
    let place = place.display();
    let filled = format!(
        "mount -t tmpfs none {place} && cp {} {place}/app",
        other.display()
    );
    let roots = ["--mount"];
    let own = ["--user", "--map-root-user", "--mount"];
    let without_mounts = ["--user", "--map-root-user"];
    let went = |unshare: &[&str], before: &str, program: &Path| {
        went_by(&world, &b, within(&world, unshare, before, program))
    };
    assert_eq!(went(&roots, &over, &named), Went::Selected, "root's");
    assert_eq!(
        went(&roots, &filled, &inside),
        Went::Selected,
        "root's, of a mount"
    );
    assert_eq!(went(&own, &over, &named), Went::Direct, "anybody's");
    assert_eq!(
        went(&own, &filled, &inside),
        Went::Direct,
        "anybody's, of a mount"
    );
    assert_eq!(
        went(&without_mounts, "true", &named),
        Went::Direct,
        "in a user namespace of its own a process may pass for another executable"
    );
    // Root itself in the mounts of such a one.
    let mut holder = world.a.spawn(
        "unshare",
        &[
            &own[..],
            &["sh", "-ec", &format!("{over}; echo mounted; read line")],
        ]
        .concat(),
    );
    holder.line("it has mounted", |line| {
        line.contains("mounted").then_some(())
    });
    let mut guest = world.a.command("nsenter");
    guest
        .arg(format!("--mount=/proc/{}/ns/mnt", holder.pid()))
        .arg(&named);
    assert_eq!(
        went_by(&world, &b, guest),
        Went::Direct,
        "root in anybody's mounts"
    );
    holder.tell("enough");
    holder.finish().expect_code(0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn datagrams_of_an_executable_are_judged_when_they_are_sent_and_when_it_connects() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let named = folder.copy("named");
    let [_a, _b] = started(&world, &folder.select("named"));
    let to = world.b.at(7000);
    let (send, connect) = (format!("sendto={to}"), format!("connect={to}"));
    let steps = |program: &Path| {
        let mut command = world.a.command(program);
        command.args(["script", "udp4", &send, "udp4", &connect]);
        let ended = Running::spawn(command).finish().expect_code(0);
        let said = ended.stdout.lines().filter_map(peer::parse);
        said.filter(|said| said["errno"] == "EPERM").count()
    };
    assert_eq!(steps(&named), 2, "mtls denies UDP");
    assert_eq!(steps(&peer::binary()), 0);
}
