//! A daemon of listeners alone.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use harness::{Host, Running};

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_daemon_that_intercepts_nothing_needs_no_root_and_leaves_nothing_in_the_kernel() {
    let world = World::pair();
    let mut app = world.b.serve(&[local(APP)], &[]);
    let nobody = Nobody::of(&world);
    let mut far = nobody.run(&world.b, &nobody.server());
    far.error_line("ready: listening");
    let good = world.pki.credential('a', Flaw::None);
    let answer = world.a.openssl_answer(world.b.at(FAR), &good, "hello");
    assert!(answer.contains("hello"), "{answer}");
    assert_eq!(app.words(), ["hello"]);
    let status = nobody.status(&world.b);
    assert_eq!(status["intercepts"], false, "{status}");
    assert_eq!(status["listeners"][0]["name"], "far", "{status}");
    assert_eq!(
        status["upstreams"][0]["endpoints"][0]["up"], true,
        "{status}"
    );
    far.signal(Signal::SIGTERM);
    far.finish().expect_code(0);
}

/// A user without privileges, with files and a folder of its own.
struct Nobody {
    dir: std::path::PathBuf,
}

impl Nobody {
    const UID: u32 = 65_534;

    fn of(world: &World) -> Self {
        let dir = world.b.dir().join("nobody");
        std::fs::create_dir_all(&dir).unwrap();
        let b = world.pki.credential('b', Flaw::None);
        for (from, to) in [
            (&b.certificate, "own.crt"),
            (&b.key, "own.key"),
            (&world.pki.bundle(), "ca.crt"),
        ] {
            std::fs::copy(from, dir.join(to)).unwrap();
            std::os::unix::fs::chown(dir.join(to), Some(Self::UID), Some(Self::UID)).unwrap();
        }
        std::os::unix::fs::chown(&dir, Some(Self::UID), Some(Self::UID)).unwrap();
        for folder in dir
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with("/tmp/"))
        {
            let mode = std::fs::metadata(folder).unwrap().permissions().mode();
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode | 0o011))
                .unwrap();
        }
        Self { dir }
    }

    fn server(&self) -> String {
        format!(
            r#"
version = 1
[daemon]
instance = "nobody"
runtime_dir = "{}/run"
[identity.own]
certificate = "own.crt"
private_key = "own.key"
[trust."example.org"]
bundle = "ca.crt"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
[[listener]]
name = "far"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
tls = {{ mode = "mutual", identities = ["own"], allow = ["a.example.org"] }}
"#,
            self.dir.display()
        )
    }

    fn command(&self, host: &Host) -> Command {
        let mut command = host.command("setpriv");
        let uid = Self::UID.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
        command.arg(harness::sidetrack_bin());
        command
    }

    fn run(&self, host: &Host, config: &str) -> Running {
        let path = self.dir.join("sidetrack.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = self.command(host);
        command.args(["run", "--config"]).arg(path);
        Running::spawn(command)
    }

    fn status(&self, host: &Host) -> serde_json::Value {
        let mut command = self.command(host);
        command.args(["status", "--json", "--instance", "nobody", "--runtime-dir"]);
        command.arg(self.dir.join("run"));
        let said = Running::spawn(command).finish().expect_code(0);
        serde_json::from_str(&said.stdout).unwrap()
    }
}
