//! Sidetrack's development commands: `cargo xtask COMMAND`.
//!
//! Each command does its own set-up and says what it installs, so that a fresh machine with
//! rustup needs nothing else.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod certs;
mod cmd;
mod demo;
mod dist;
mod ebpf;
mod lint;
mod setup;
mod test;
mod tidy;

/// Builds, proves, tests and packages Sidetrack.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 77 a privilege, program or kernel feature is missing (named)"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what every other command needs (each also installs its own part)
    Setup,
    /// Build the BPF object alone; prints its path and SHA-256
    BuildEbpf(ebpf::Options),
    /// Build target/release/sidetrack with the BPF object in it
    Build(ebpf::Options),
    /// Prove on this machine what Sidetrack does: two hosts, one unmodified client and server
    Demo(demo::Options),
    /// Run every test, the privileged ones on the real kernel included (needs root)
    Test(test::Options),
    /// Measure what interception and mutual TLS cost, beside proxies of other make (needs root)
    Bench(bench::Options),
    /// Formatting, clippy on host and BPF target, documentation, licences, tidiness
    Lint,
    /// Write a throw-away development CA and its leaves to certs/dev/
    Certs,
    /// Build a release archive and its checksum in target/dist/
    Dist,
    /// The demo's client for first-byte latencies
    #[command(hide = true)]
    FirstByte(demo::latency::Options),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Setup => setup::run(),
        Task::BuildEbpf(options) => setup::ensure(setup::Purpose::Build)
            .and_then(|()| ebpf::build(&options))
            .map(|_| ()),
        Task::Build(options) => build::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Lint => lint::run(),
        Task::Certs => certs::run(),
        Task::Dist => dist::run(),
        Task::FirstByte(options) => demo::latency::client(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.downcast_ref::<cmd::Missing>().is_some() {
                ExitCode::from(77)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
