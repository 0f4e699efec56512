//! `certs`: the development CA and its leaves, good and bad, in certs/dev/.

use std::process::Command;

use anyhow::Result;

use crate::cmd;

pub(crate) fn run() -> Result<()> {
    // --workspace: the same features as `cargo test --workspace`, so nothing is built twice.
    let mut build = cmd::cargo("build");
    build.args(["--locked", "--workspace", "--bin", "sidetrack"]);
    let sidetrack = cmd::executable(&mut build, "sidetrack")?;
    cmd::exec(Command::new(sidetrack).current_dir(cmd::root()).args([
        "certs",
        "dev",
        "--profiles",
        "certs/profiles.toml",
        "--dir",
        "certs/dev",
        "--force",
    ]))
}
