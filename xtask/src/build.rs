//! `build`: the daemon with the BPF object embedded.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{cmd, ebpf, setup};

/// What proxy/build.rs embeds.
pub(crate) const OBJECT_VARIABLE: &str = "SIDETRACK_BPF_OBJECT";

pub(crate) fn run(options: &ebpf::Options) -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    let object = ebpf::build(options)?;
    let binary = daemon(&object, options)?;
    println!("{}", binary.display());
    Ok(())
}

/// Builds the release daemon around `object` and returns its path.
pub(crate) fn daemon(object: &Path, options: &ebpf::Options) -> Result<PathBuf> {
    let mut build = cmd::cargo("build");
    build.env(OBJECT_VARIABLE, object).args([
        "--locked",
        "--release",
        "--package",
        "sidetrack",
        "--bin",
        "sidetrack",
    ]);
    if options.log {
        build.args(["--features", "bpf-log"]);
    }
    cmd::executable(&mut build, "sidetrack")
}
