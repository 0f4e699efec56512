//! Upstreams that are host names.

use std::path::PathBuf;

use harness::{Running, sidetrack_bin};
use serde_json::Value;

use super::*;

/// A daemon that sees a list of hosts of its own in place of /etc/hosts.
struct Named {
    running: Running,
    run: PathBuf,
    hosts: PathBuf,
}

impl Named {
    fn start(world: &World) -> Self {
        let run = world.b.dir().join("run");
        let config = world.b.write(
            "names.toml",
            &format!(
                r#"
version = 1
[daemon]
instance = "names"
runtime_dir = "{}"
[upstream.app]
addresses = ["app.test:{APP}"]
balance = "round-robin"
[[listener]]
name = "front"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
"#,
                run.display()
            ),
        );
        let hosts = world.b.write("hosts", "127.0.0.1 localhost\n");
        let mut command = world.b.command("unshare");
        let script = "mount --bind \"$1\" /etc/hosts && exec \"$2\" run --config \"$3\"";
        command.args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(&hosts).arg(sidetrack_bin()).arg(config);
        let mut running = Running::spawn(command);
        running.error_line("ready: listening");
        Self {
            running,
            run,
            hosts,
        }
    }

    fn endpoints(&self, world: &World) -> Vec<String> {
        let mut command = world.b.command(sidetrack_bin());
        command.args(["status", "--json", "--instance", "names", "--runtime-dir"]);
        command.arg(&self.run);
        let said = Running::spawn(command).finish().expect_code(0);
        let status: Value = serde_json::from_str(&said.stdout).unwrap();
        let endpoints = status["upstreams"][0]["endpoints"].as_array().unwrap();
        let at = |endpoint: &Value| endpoint["at"].as_str().unwrap().to_owned();
        endpoints.iter().map(at).collect()
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_name_that_resolves_only_later_is_refused_until_then_and_all_of_its_addresses_are_used() {
    let world = World::pair();
    let daemon = Named::start(&world);
    let both = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), APP));
    let apps = both.map(|at| world.b.serve(&[at], &[]));
    let connect = format!("connect={}", world.b.at(FAR));
    expect_reset(&world, world.b.at(FAR));
    assert!(daemon.endpoints(&world).is_empty());
    std::fs::write(&daemon.hosts, "127.0.0.1 app.test\n127.0.0.2 app.test\n").unwrap();
    holds("its addresses are known", || {
        daemon.endpoints(&world) == both.map(|at| at.to_string())
    });
    for _ in 0..4 {
        world.a.script(&[&connect, "send=welcome", "line"]).all_ok();
    }
    assert_eq!(apps.map(|app| app.accepted().len()), [2, 2]);
    daemon.running.signal(Signal::SIGTERM);
    daemon.running.finish().expect_code(0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn of_a_name_with_addresses_of_both_families_the_one_that_answers_is_used() {
    let world = World::pair();
    let daemon = Named::start(&world);
    let both = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), APP));
    std::fs::write(&daemon.hosts, "127.0.0.1 app.test\n::1 app.test\n").unwrap();
    holds("its addresses are known", || {
        daemon.endpoints(&world).len() == 2
    });
    let connect = format!("connect={}", world.b.at(FAR));
    for at in both {
        let app = world.b.serve(&[at], &[]);
        holds("it answers", || {
            let steps = world.a.script(&[&connect, "send=hello", "line"]);
            steps.of("line").is_ok()
        });
        app.stop();
    }
}
