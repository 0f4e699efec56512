//! `bench`: what interception and mutual TLS cost on this machine, beside proxies of other make.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{build, cmd, ebpf, setup, test::preflight};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --case first-byte --rounds 20\n  \
                  cargo xtask bench --compare OLD.json --also /path/to/other/sidetrack\n  cargo xtask bench --smoke"
)]
pub(crate) struct Options {
    /// Only whether every path and case is alive, in about a minute; the figures mean nothing
    #[arg(long)]
    smoke: bool,
    /// Further arguments of `sidetrack bench`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    args: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    preflight::privileged()?;
    setup::ensure(setup::Purpose::Bench)?;
    let features = ebpf::Options::default();
    let daemon = build::daemon(&ebpf::build(&features)?, &features)?;
    let (profile, out) = match options.smoke {
        true => ("smoke", "bench/smoke"),
        false => ("full", "bench"),
    };
    let mut bench = Command::new(daemon);
    bench.arg("bench");
    // Whoever names paths does not want all.
    if !options.args.iter().any(|arg| arg == "--path") {
        bench.arg("--peers");
    }
    bench
        .args(["--profile", profile, "--out"])
        .arg(cmd::target_dir().join(out))
        .args(&options.args);
    cmd::exec(&mut bench)
}
