//! What comes through rustup and crates.io.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{announce, missing};
use crate::cmd;

/// cargo-deny, which lint runs.
pub(crate) mod cargo_deny {
    use std::path::PathBuf;

    use anyhow::{Context as _, Result};

    const VERSION: &str = "0.20.2";

    /// Installs it unless the right version is there.
    pub(crate) fn ensure() -> Result<()> {
        if installed().is_none() {
            super::announce(
                &format!("cargo-deny {VERSION} in target/tools"),
                "lint checks licences and sources of dependencies with it (some minutes, once)",
            );
            super::install("cargo-deny", VERSION)?;
        }
        Ok(())
    }

    /// Where the right version is.
    pub(crate) fn path() -> Result<PathBuf> {
        installed().context("cargo-deny is not installed; run `cargo xtask setup`")
    }

    fn installed() -> Option<PathBuf> {
        super::installed(
            "cargo-deny",
            &["--version"],
            &format!("cargo-deny {VERSION}"),
        )
    }
}

/// Adds a rustup component to the toolchain in use.
pub(super) fn component(name: &str, why: &str) -> Result<()> {
    let sysroot = cmd::output(
        Command::new("rustc")
            .current_dir(cmd::root())
            .args(["--print", "sysroot"]),
    )?;
    let sysroot = Path::new(sysroot.trim());
    let proof = match name {
        "rust-src" => sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml"),
        "clippy" => sysroot.join("bin/clippy-driver"),
        _ => sysroot.join("bin").join(name),
    };
    if proof.exists() {
        return Ok(());
    }
    if cmd::which("rustup").is_none() {
        return Err(missing(format!(
            "the toolchain in {} has no {name} ({why}), and there is no rustup to add it: \
             install rustup, or the package of your distribution that holds {name}",
            sysroot.display()
        )));
    }
    announce(&format!("{name} by rustup"), why);
    cmd::exec(
        Command::new("rustup")
            .current_dir(cmd::root())
            .args(["component", "add", name]),
    )
    .with_context(|| {
        format!("adding {name} ({why}); where rustup cannot reach its server, install the whole toolchain with {name} from a mirror (RUSTUP_DIST_SERVER)")
    })
}

/// Installs a crate's programs under target/tools, where they cannot replace a user's own.
pub(super) fn install(name: &str, version: &str) -> Result<()> {
    cmd::exec(
        cmd::cargo("install")
            .args([
                name,
                "--version",
                version,
                "--locked",
                "--quiet",
                "--force",
                "--root",
            ])
            .arg(tools())
            // Of the build that runs this program, not of the one that it starts.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR"),
    )
}

/// The program, if one of the places where it may be has exactly this version.
pub(super) fn installed(name: &str, version_args: &[&str], expected: &str) -> Option<PathBuf> {
    [Some(tools().join("bin").join(name)), cmd::which(name)]
        .into_iter()
        .flatten()
        .filter(|path| path.is_file())
        .find(|path| {
            cmd::output(Command::new(path).args(version_args))
                .is_ok_and(|version| version.trim() == expected)
        })
}

fn tools() -> PathBuf {
    cmd::target_dir().join("tools")
}
