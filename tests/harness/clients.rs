//! Clients in the languages whose runtimes make sockets in their own ways (`tests/clients`).

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{host::Host, process::Running};

/// A language with a runtime of its own.
#[derive(Clone, Copy, Debug)]
pub enum Language {
    /// Non-blocking sockets, its own poller, no libc.
    Go,
    /// Dual-stack: one IPv6 socket for both families.
    Java,
    /// Blocking, through libc.
    Python,
    /// libuv.
    Node,
}

impl Language {
    /// The command that runs its client on `host`; compiles it first where it must.
    #[track_caller]
    pub fn client(self, host: &Host) -> Command {
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
        let source = |name: &str| sources.join(name);
        match self {
            Self::Go => {
                let binary = host.dir().join("client-go");
                go(&[source("client.go")], &binary);
                host.command(binary)
            }
            Self::Java => {
                let mut build = Command::new("javac");
                build.arg("-d").arg(host.dir()).arg(source("Client.java"));
                compile(build);
                let mut command = host.command("java");
                command.arg("-cp").arg(host.dir()).arg("Client");
                command
            }
            Self::Python => {
                let mut command = host.command("python3");
                command.arg(source("client.py"));
                command
            }
            Self::Node => {
                let mut command = host.command("node");
                command.arg(source("client.mjs"));
                command
            }
        }
    }
}

/// Compiles a program in Go of its standard library alone.
#[track_caller]
pub(crate) fn go(sources: &[PathBuf], binary: &Path) {
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(binary).args(sources);
    build
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local");
    if std::env::var_os("HOME").is_none() {
        build.env("GOCACHE", binary.with_extension("cache"));
    }
    compile(build);
}

/// Compilers are slow on a busy machine, and no part of what is tested.
#[track_caller]
fn compile(command: Command) {
    Running::spawn(command)
        .finish_within(std::time::Duration::from_secs(240))
        .expect_code(0);
}
