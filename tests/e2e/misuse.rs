//! What people get wrong, and hosts that lack something: each a message that names the thing and
//! the fix, and the documented exit code.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use harness::{Finished, Flaw, Running, World, cgroup, daemon::Setup, peer, rules, sidetrack_bin};

const FAILED: i32 = 1;
const LACKING: i32 = 77;
const MISCONFIGURED: i32 = 78;

fn setup(world: &World) -> Setup {
    Setup::new(world, &world.a).with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
}

/// `check` and `run` must say the same of a configuration.
#[track_caller]
fn misconfigured(world: &World, setup: &Setup, words: &[&str]) {
    let config = setup.write().display().to_string();
    let check = world
        .a
        .run(sidetrack_bin(), &["check", "--config", &config]);
    check.expect_code(MISCONFIGURED).expect_words(words);
    setup.fails().expect_code(MISCONFIGURED).expect_words(words);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_bad_configuration_is_named_with_all_its_errors() {
    let world = World::pair();
    let bad = setup(&world).with(
        r#"
[[outbound]]
name = "second"
to = ["10.88.0.0/99"]
ports = ["70000"]
action = "teleport"
"#,
    );
    misconfigured(
        &world,
        &bad,
        &["second", "10.88.0.0/99", "70000", "teleport"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_missing_file_is_named() {
    let world = World::pair();
    let gone = world.a.run(
        sidetrack_bin(),
        &["run", "--config", "/no/such/sidetrack.toml"],
    );
    gone.expect_code(MISCONFIGURED)
        .expect_words(&["/no/such/sidetrack.toml"]);
    let mut credential = world.pki.credential('a', Flaw::None);
    credential.certificate = "/no/such/a.crt".into();
    misconfigured(
        &world,
        &setup(&world).credential(credential),
        &["/no/such/a.crt"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_unreadable_key_is_named() {
    let world = World::pair();
    let setup = setup(&world);
    let key = world.pki.credential('a', Flaw::None).key;
    std::os::unix::fs::chown(&key, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let config = setup.write().display().to_string();
    let run = sidetrack_bin().display().to_string();
    // Root reads every file, so it must be root without that capability.
    let without = [
        "--bounding-set",
        "-dac_override,-dac_read_search",
        "--",
        &run,
        "run",
        "--config",
        &config,
    ];
    let ended = world.a.run("setpriv", &without);
    let name = key.file_name().unwrap().to_str().unwrap().to_owned();
    ended
        .expect_code(MISCONFIGURED)
        .expect_words(&[&name, "permission"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_file_that_is_no_key_or_no_certificate_is_named() {
    let world = World::pair();
    let good = world.pki.credential('a', Flaw::None);
    let mut no_key = good.clone();
    no_key.key = world.a.write("garbage.key", "not a key\n");
    misconfigured(&world, &setup(&world).credential(no_key), &["garbage.key"]);
    let mut no_certificate = good;
    no_certificate.certificate = world.a.write("garbage.crt", "not a certificate\n");
    misconfigured(
        &world,
        &setup(&world).credential(no_certificate),
        &["garbage.crt"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_key_that_does_not_match_its_certificate_is_named() {
    let world = World::pair();
    let mut mixed = world.pki.credential('a', Flaw::None);
    mixed.key = world.pki.credential('b', Flaw::None).key;
    misconfigured(
        &world,
        &setup(&world).credential(mixed),
        &["b-None.key", "match"],
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_second_daemon_of_the_same_instance_is_refused_and_harms_the_first_not() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let passing = || Setup::new(&world, &world.a).with(rules::outbound_passthrough());
    let first = passing().start();
    passing()
        .fails()
        .expect_code(FAILED)
        .expect_words(&[first.instance(), "instance"]);
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    first.wait_records(1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn root_without_capabilities_is_told_which_one_is_missing() {
    let world = World::pair();
    let config = setup(&world).write().display().to_string();
    let run = sidetrack_bin().display().to_string();
    let without = [
        "--bounding-set",
        "-all",
        "--inh-caps",
        "-all",
        "--",
        &run,
        "run",
        "--config",
        &config,
    ];
    let ended = world.a.run("setpriv", &without);
    ended.expect_code(LACKING).expect_words(&["CAP_"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_ordinary_user_is_told_what_is_missing() {
    let world = World::pair();
    // Everything that it reads must be where nobody can read it: the lack is the privilege's.
    let open = tempfile::Builder::new()
        .prefix("sdt-open-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = |from: &Path, name: &str, mode| {
        let to = open.path().join(name);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&to, Some(65534), Some(65534)).unwrap();
        to
    };
    let mut credential = world.pki.credential('a', Flaw::None);
    credential.certificate = copy(&credential.certificate, "a.crt", 0o644);
    credential.key = copy(&credential.key, "a.key", 0o600);
    let ours = copy(&world.pki.bundle(), "ca.crt", 0o644)
        .display()
        .to_string();
    let other = copy(&world.pki.other_bundle(), "other.crt", 0o644)
        .display()
        .to_string();
    let toml = setup(&world)
        .credential(credential)
        .toml()
        .replace(world.pki.bundle().to_str().unwrap(), &ours)
        .replace(world.pki.other_bundle().to_str().unwrap(), &other)
        .replace(
            world.a.dir().to_str().unwrap(),
            open.path().to_str().unwrap(),
        );
    let config = open.path().join("sidetrack.toml");
    fs::write(&config, toml).unwrap();
    let run = copy(&sidetrack_bin(), "sidetrack", 0o755)
        .display()
        .to_string();
    let config = config.display().to_string();
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    for command in [&["run", "--config", &config][..], &["exec", "--", "true"]] {
        let mut nobody = world.a.command("setpriv");
        nobody
            .args(as_nobody)
            .arg("--")
            .arg(&run)
            .args(command)
            .current_dir("/");
        let ended = Running::spawn(nobody).finish().expect_code(LACKING);
        ended.expect_words(&["root"]);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_host_without_cgroup2_is_told_how_to_mount_it() {
    let world = World::pair();
    let config = setup(&world).write().display().to_string();
    let unmount: Vec<_> = cgroup::mount_points()
        .iter()
        .rev()
        .map(|path| format!("umount -l {}", path.display()))
        .collect();
    let script = format!("{} && exec \"$@\"", unmount.join(" && "));
    let run = sidetrack_bin().display().to_string();
    let inside = [
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
        &run,
        "run",
        "--config",
        &config,
    ];
    let ended = world.a.run("unshare", &inside);
    ended
        .expect_code(LACKING)
        .expect_words(&["cgroup2", "mount"]);
}

/// Runs the daemon on a kernel whose bpf(2) lacks something.
fn on_old_kernel(world: &World, lack: &[&str]) -> Finished {
    let config = setup(world).write().display().to_string();
    let run = sidetrack_bin().display().to_string();
    let words = [
        &["old-kernel"],
        lack,
        &["--", &run, "run", "--config", &config],
    ]
    .concat();
    world.a.peer(&words).finish().expect_code(LACKING)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_kernel_without_bpf_is_named() {
    let world = World::pair();
    let enosys = libc_errno(nix::errno::Errno::ENOSYS);
    on_old_kernel(&world, &["--errno", &enosys]).expect_words(&["bpf", "kernel"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_kernel_without_bpf_links_is_named() {
    let world = World::pair();
    let einval = libc_errno(nix::errno::Errno::EINVAL);
    // BPF_LINK_CREATE, since Linux 5.7.
    on_old_kernel(&world, &["--command", "28", "--errno", &einval])
        .expect_words(&["link", "kernel"]);
}

fn libc_errno(errno: nix::errno::Errno) -> String {
    (errno as i32).to_string()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn doctor_names_what_is_there_and_what_is_missing() {
    let world = World::pair();
    let fine = world.a.run(sidetrack_bin(), &["doctor"]);
    fine.expect_code(0);
    let run = sidetrack_bin().display().to_string();
    let enosys = libc_errno(nix::errno::Errno::ENOSYS);
    let words = ["old-kernel", "--errno", &enosys, "--", &run, "doctor"];
    let lacking = world.a.spawn(peer::binary(), &words).finish();
    assert_eq!(lacking.code(), LACKING, "{lacking}");
}
