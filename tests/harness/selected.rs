//! Applications of one selection, whose connections go out in mutual TLS, and nobody else's.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::{
    Capture, Daemon, Host, World,
    cgroup::Cgroup,
    daemon::Setup,
    peer::{Server, binary, parse},
    process::Running,
    rules,
};

/// The identity of host a.
pub const OURS: &str = "spiffe://example.org/a";

/// Once in so many rounds the daemon is stopped until the application has sent: however fast it is,
/// it then sees a cgroup after its first connection.
const LATE: u64 = 5;

/// What `select` selects on host a goes out in mutual TLS, and nothing else; b takes plain text
/// too. `APPS` stands for the path of a's applications.
pub fn setups(world: &World, select: &str) -> [Setup; 2] {
    let accept = r#"["tunnel", "mtls", "plain"]"#;
    let b = Setup::new(world, &world.b)
        .with(rules::inbound(accept, OURS))
        .with("detect = \"10s\"");
    let select = select.replace("APPS", &world.a.apps().name());
    let a = Setup::new(world, &world.a)
        .with(format!("[select.one]\n{select}\n"))
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .with("select = \"one\"");
    [a, b]
}

/// A client script whose process is born in `cgroup`.
pub fn born_in(host: &Host, cgroup: &Cgroup, steps: &[&str]) -> Command {
    let mut command = host.command_in(cgroup.path(), binary());
    command.arg("script").args(steps);
    command
}

/// When the daemon may see a cgroup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// As soon as it does.
    AtOnce,
    /// Now and then after its first connection.
    NowAndThenLate,
}

/// Has an application start so many `rounds`, each time in a cgroup that `appear` has just made,
/// the last of those that it gives, and say `secret` to `server`, on port 7000 of b: each of them
/// gets its answer, and none of it leaves a as it is.
#[track_caller]
pub fn none_escapes(
    world: &World,
    daemon: &mut Daemon,
    server: &mut Server,
    (rounds, secret): (u64, &str),
    seen: Seen,
    mut appear: impl FnMut(u64) -> Vec<Cgroup>,
) {
    let connect = format!("connect={}", world.b.at(7000));
    let before = (server.totals(), daemon.records().len());
    let capture = Capture::start(&world.a);
    for round in 0..rounds {
        let late = seen == Seen::NowAndThenLate && round % LATE == 0;
        if late {
            daemon.suspend();
        }
        let cgroups = appear(round);
        let cgroup = cgroups.last().expect("a cgroup that has appeared");
        let send = format!("send={secret}-{round}");
        let mut client = Running::spawn(born_in(&world.a, cgroup, &[&connect, &send, "line"]));
        if late {
            client.line("it has sent", |line| {
                (parse(line)?["step"] == send).then_some(())
            });
            daemon.signal(Signal::SIGCONT);
        }
        let ended = client.finish().expect_code(0);
        for step in ended.stdout.lines().filter_map(parse) {
            assert!(step["errno"].is_null(), "round {round}: {step}");
        }
    }
    let ((connections, lines), records) = before;
    assert_eq!(
        server.totals(),
        (connections + rounds, lines + rounds),
        "each line arrives"
    );
    capture.stop().expect_encrypted(secret);
    for record in &daemon.wait_records(records + rounds as usize)[records..] {
        assert_eq!(
            (record.rule(), record.own_identity(), record.reason()),
            ("out", OURS, ""),
            "{record}"
        );
    }
}
