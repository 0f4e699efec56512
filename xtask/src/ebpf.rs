//! `build-ebpf`: the kernel side as one BPF object.
//!
//! Built with the workspace's own stable compiler: RUSTC_BOOTSTRAP lets it build `core` for the
//! BPF target, which spares everybody a second toolchain.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{cmd, setup::bpf_linker};

pub(crate) const TARGET: &str = "bpfel-unknown-none";

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Compile the kernel side's log lines in; for debugging, never for a release
    #[arg(long)]
    pub(crate) log: bool,
}

/// Builds the object, prints its path and SHA-256, and returns the path.
pub(crate) fn build(options: &Options) -> Result<PathBuf> {
    let mut build = cargo("build")?;
    build.args(["--release", "--bin", "sidetrack-bpf"]);
    if options.log {
        build.args(["--features", "log"]);
    }
    let object = cmd::executable(&mut build, "sidetrack-bpf")?;
    println!("{}  sha256 {}", object.display(), cmd::sha256(&object)?);
    Ok(object)
}

/// A cargo command on the ebpf package for the BPF target.
pub(crate) fn cargo(subcommand: &str) -> Result<Command> {
    let linker = bpf_linker::path()?;
    let rustflags = [
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    let mut command = cmd::cargo(subcommand);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        // Not RUSTFLAGS: a linker's path may hold a space.
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}"))
        .args(["--locked", "--package", "sidetrack-ebpf"])
        .args(["-Z", "build-std=core", "--target", TARGET])
        // A folder of its own: these flags would otherwise rebuild the host's crates.
        .arg("--target-dir")
        .arg(cmd::target_dir().join("bpf"));
    Ok(command)
}
