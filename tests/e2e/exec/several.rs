//! Several at once, beside a daemon.

use harness::{Flaw, pins};

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn several_run_beside_each_other_and_beside_a_daemon() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let peer = peer::binary().display().to_string();
    let connect = format!("connect={}", world.b.at(7000));
    let steps = [
        &peer,
        "script",
        &connect,
        "send=first",
        "line",
        "pause",
        "send=second",
        "line",
    ];
    let mut running: Vec<_> = (0..3).map(|_| exec(&world.a, &[], &steps)).collect();
    for each in &mut running {
        each.line("the first answer", |line| {
            line.contains("getsockname").then_some(())
        });
    }
    for mut each in running {
        each.tell("go on");
        let ended = each.finish().expect_code(0);
        assert!(ended.stdout.contains("second"), "{ended}");
        assert_eq!(records(&ended, "10.88.0.2:7000"), 1, "{ended}");
    }
    let before = daemon.records().len();
    world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    daemon.wait_records(before + 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn thirty_at_once_beside_a_daemon_keep_their_exit_codes_and_leave_nothing() {
    let world = World::pair();
    let _daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let running: Vec<_> = (1..=30)
        .map(|code| {
            (
                code,
                exec(&world.a, &[], &["sh", "-c", &format!("exit {code}")]),
            )
        })
        .collect();
    for (code, each) in running {
        each.finish().expect_code(code);
    }
    assert_eq!(world.a.apps().below(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn several_execs_with_a_configuration_beside_a_daemon_keep_their_rules_and_leave_nothing() {
    let world = World::pair();
    let ports: Vec<u16> = (7001..=7008).collect();
    let listen: Vec<_> = ports.iter().map(|&port| world.b.at(port)).collect();
    let _server = world.b.serve(&listen, &[]);
    let identities = [
        "spiffe://example.org/a",
        "spiffe://example.org/somebody-else",
    ];
    let b = Setup::new(&world, &world.b)
        .with(rules::inbound(r#"["tunnel"]"#, &identities.join("\", \"")))
        .start();
    let credentials = [Flaw::None, Flaw::WrongIdentity].map(|who| world.pki.credential('a', who));
    let mut daemon = Setup::new(&world, &world.a)
        .credential(credentials[0].clone())
        .with(rules::outbound_passthrough())
        .start();
    // Below the daemon's `intercept.cgroup` both would govern them.
    let outside = world.a.daemons().child("execs");
    let peer = peer::binary().display().to_string();
    // What one may connect to is denied to another.
    let next = |port: u16| 7001 + (port - 7000) % 8;
    let start = |port: u16, config: &str, records: &str| {
        let mut command = world.a.command_in(outside.path(), sidetrack_bin());
        command.args([
            "exec",
            "--config",
            config,
            "--records",
            records,
            "--format",
            "json",
        ]);
        let own = format!("connect={}", world.b.at(port));
        let denied = format!("connect={}", world.b.at(next(port)));
        command.args(["--", &peer, "script", "slot=1", &own, "send=first", "line"]);
        command.args(["slot=2", &denied, "pause", "slot=1", "send=second", "line"]);
        Running::spawn(command)
    };
    // One after another, since each writes its certificates anew.
    let configs: Vec<_> = ports
        .iter()
        .map(|&port| {
            let mtls = rules::outbound_mtls("tunnel", "spiffe://example.org/b");
            let deny = rules::outbound_passthrough()
                .replace("passthrough", "deny")
                .replace("\"out\"", "\"no\"");
            let setup =
                Setup::new(&world, &world.a).instance(format!("{}-{port}", world.a.unique()));
            let config = setup
                .credential(credentials[usize::from(port) % 2].clone())
                .with(mtls.replace(rules::PORTS, &port.to_string()))
                .with(deny.replace(rules::PORTS, &next(port).to_string()))
                .write();
            config.display().to_string()
        })
        .collect();
    let before = (daemon.pid(), pins::below(&pins::folder(daemon.instance())));
    let waves = 3;
    let mut ending: Vec<(u16, String, Running)> = Vec::new();
    let mut folders = Vec::new();
    for wave in 0..=waves {
        // Those of before end while these begin.
        for (_, _, each) in &mut ending {
            each.tell("go on");
        }
        let mut begun = Vec::new();
        for (port, config) in ports.iter().zip(&configs).filter(|_| wave < waves) {
            let records = world.a.dir().join(format!("records-{wave}-{port}"));
            let records = records.display().to_string();
            begun.push((*port, records.clone(), start(*port, config, &records)));
        }
        for (port, records, each) in ending {
            let ended = each.finish().expect_code(0);
            assert!(ended.stdout.contains("second"), "{ended}");
            let lines = std::fs::read_to_string(records).unwrap();
            let lines: Vec<_> = lines.lines().map(harness::Record::parse).collect();
            let of = |rule| lines.iter().find(|record| record.rule() == rule).unwrap();
            assert_eq!(of("out").own_identity(), identities[usize::from(port) % 2]);
            assert_eq!(of("out").peer_identity(), "spiffe://example.org/b");
            assert_eq!(of("no").reason(), "denied-by-rule");
            assert_eq!(lines.len(), 2, "{lines:#?}");
        }
        for (_, _, each) in &mut begun {
            each.line("the denied connect", |line| {
                let said = peer::parse(line)?;
                let step = said["step"].as_str()?.starts_with("connect=");
                (step && !said["errno"].is_null()).then_some(())
            });
            let folder = pins::folder(&format!("exec_{}", each.pid()));
            assert!(!pins::below(&folder).is_empty(), "{}", folder.display());
            folders.push(folder);
        }
        ending = begun;
    }
    for folder in folders {
        assert!(!folder.exists(), "{:?} are left", pins::below(&folder));
    }
    assert_eq!(outside.below(), Vec::<std::path::PathBuf>::new());
    for record in b.wait_records(ports.len() * waves) {
        let port: u16 = record
            .destination()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            record.peer_identity(),
            identities[usize::from(port) % 2],
            "{record}"
        );
    }
    assert_eq!(
        before,
        (daemon.pid(), pins::below(&pins::folder(daemon.instance())))
    );
    assert_eq!(daemon.records().len(), 0);
    let connect = format!("connect={}", world.b.at(7001));
    world.a.script(&[&connect, "send=hello", "line"]);
    let record = daemon.only_record();
    assert_eq!((record.rule(), record.carriage()), ("out", "plain"));
}
