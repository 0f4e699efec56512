//! What user space says and decides of executables.

use harness::{process::Finished, rules};
use nix::{sys::signal::kill, unistd::Pid};

use super::*;

/// Which of these live connections are answered still after a reload that says `mtls` for what `select`
/// selects, and what was said of those that are not.
fn after_reload(
    world: &World,
    select: &str,
    clients: impl FnOnce(&[&str]) -> Vec<Running>,
) -> (Vec<bool>, Vec<String>) {
    let [plain, b] = {
        let b = Setup::new(world, &world.b)
            .with(rules::inbound(r#"["tunnel", "mtls", "plain"]"#, OURS));
        [
            Setup::new(world, &world.a).with(rules::outbound_passthrough()),
            b,
        ]
    };
    let (_b, mut a) = (b.start(), plain.start());
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let script = [
        "script", &connect, "send=one", "line", "pause", "send=two", "line",
    ];
    let mut clients = clients(&script);
    for client in &mut clients {
        client.line("it is answered", |line| {
            line.contains("\"line\"").then_some(())
        });
    }
    let select = select.replace("APPS", &world.a.apps().name());
    Setup::new(world, &world.a)
        .with(format!("[select.one]\n{select}\n"))
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .with("select = \"one\"")
        .write();
    a.signal(Signal::SIGHUP);
    a.wait_told("READY=1", 2);
    let closed = a.wait_records(1);
    let answered = clients.into_iter().map(|mut client| {
        client.tell("go on");
        let ended: Finished = client.finish();
        ended.stdout.contains("two\\n") || ended.stdout.matches("\"ok\":").count() == 6
    });
    let reasons = closed.iter().map(|record| record.reason().to_owned());
    (answered.collect(), reasons.collect())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reload_that_asks_for_an_executable_judges_live_connections_by_what_made_them() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let programs = [folder.copy("named"), folder.copy("other")];
    let clients = |script: &[&str]| {
        let clients = programs.iter();
        clients
            .map(|program| world.a.spawn(program, script))
            .collect()
    };
    let (answered, reasons) = after_reload(&world, &folder.select("named"), clients);
    assert_eq!(answered, [false, true], "the named one, and another");
    assert_eq!(reasons, ["policy-changed"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_executable_that_is_handed_out_of_anybodys_mounts_is_not_told_by_its_path() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (named, other) = (folder.copy("named"), folder.copy("other"));
    let (over, open) = (named.display(), other.display());
    let mounted = format!("mount --bind {open} {over}; exec 9<{over}; echo mounted; read line");
    let own = [
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-ec",
        &mounted,
    ];
    let mut holder = world.a.spawn("unshare", &own);
    holder.line("it has mounted", |line| {
        line.contains("mounted").then_some(())
    });
    let handed_out = PathBuf::from(format!("/proc/{}/fd/9", holder.pid()));
    let select = format!("include = [{{ cgroup = \"APPS\" }}]\nexclude = [{{ exe = {named:?} }}]");
    let clients = |script: &[&str]| {
        let clients = [&named, &handed_out].into_iter();
        clients
            .map(|program| world.a.spawn(program, script))
            .collect()
    };
    let (answered, reasons) = after_reload(&world, &select, clients);
    assert_eq!(
        answered,
        [true, false],
        "the excluded one, and what has its path"
    );
    assert_eq!(reasons, ["policy-changed"]);
    holder.tell("enough");
    holder.finish().expect_code(0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn explain_says_of_a_path_and_of_a_process_what_then_happens() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let (named, other) = (folder.copy("named"), folder.copy("other"));
    let [a, b] = started(&world, &folder.select("named"));
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let apps = world.a.apps().name();
    let explained = |who: [&str; 2]| {
        let to = world.b.at(7000).to_string();
        let said = a.ask_with(&["explain", &to, "--cgroup", &apps, who[0], who[1]]);
        assert_eq!(said["kernel"][0], "agrees", "{said}");
        match said["explained"][0]["decision"]["rule"].as_str() {
            Some("out") => Went::Selected,
            _ => Went::Direct,
        }
    };
    for program in [&named, &other] {
        let went = went_as(&world, &b, program);
        assert_eq!(explained(["--exe", program.to_str().unwrap()]), went);
        let mut waits = world.a.spawn(program, &["script", "tcp4", "pause"]);
        waits.line("it runs", |line| line.contains("tcp4").then_some(()));
        assert_eq!(explained(["--pid", &waits.pid().to_string()]), went);
        waits.tell("go on");
        waits.finish().expect_code(0);
    }
    let own = ["--user", "--map-root-user"];
    let mut guest = within(&world, &own, "true", &named);
    guest.args(["script", "tcp4", "pause"]);
    let mut guest = Running::spawn(guest);
    guest.line("it runs", |line| line.contains("tcp4").then_some(()));
    assert_eq!(explained(["--pid", &guest.pid().to_string()]), Went::Direct);
}

/// The daemon on a host whose kernel tells nothing of its types.
fn without_types(world: &World, setup: &Setup) -> Running {
    let ready = setup.command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec"]);
    command.arg("mount --bind /dev/null /sys/kernel/btf/vmlinux\nexec \"$@\"");
    command
        .arg("sh")
        .arg(ready.get_program())
        .args(ready.get_args());
    command.current_dir(world.a.dir());
    Running::spawn(command)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_the_kernels_types_rules_for_an_executable_are_refused_with_what_to_do() {
    let world = World::pair();
    let folder = Folder::of(&world);
    let setup = |select: &str| {
        let select = select.replace("APPS", &world.a.apps().name());
        Setup::new(&world, &world.a)
            .with(format!("[select.one]\n{select}\n"))
            .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
            .with("select = \"one\"")
    };
    let words = ["by executable", "for want of the kernel's BTF", "doctor"];
    let mut a = without_types(&world, &setup("include = [{ cgroup = \"APPS/web\" }]"));
    a.error_line("connections of the kernel's own");
    a.error_line("ready");
    let by_executable = setup(&folder.select("named"));
    by_executable.write();
    kill(Pid::from_raw(a.pid()), Signal::SIGHUP).expect("reload");
    let refused = a.error_line("by executable");
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    kill(Pid::from_raw(a.pid()), Signal::SIGTERM).expect("stop");
    a.finish().expect_code(0);
    let ended = without_types(&world, &by_executable).finish();
    assert_ne!(ended.code(), 0, "{ended}");
    ended.expect_words(&words);
}
