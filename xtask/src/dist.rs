//! `dist`: one archive to install from, and its checksum.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{build, cmd, ebpf, setup};

/// What goes into the archive beside the binary.
const FILES: [&str; 10] = [
    "scripts/sidetrack.toml",
    "scripts/sidetrack.service",
    "scripts/sidetrack-guard.service",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "LICENSE-GPL-2.0",
];

/// The example of a proxy of others.
const EXAMPLES: [(&str, &[&str]); 2] = [
    (
        "examples/redirect",
        &["sidetrack.toml", "redsocks.conf", "redirect.conf"],
    ),
    ("examples/namespaces", &["namespaces.conf"]),
];

pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Purpose::Build)?;
    let options = ebpf::Options::default();
    let binary = build::daemon(&ebpf::build(&options)?, &options)?;

    let name = format!(
        "sidetrack-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        env::consts::ARCH
    );
    let dist = cmd::target_dir().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    copy(binary, folder.join("sidetrack"))?;
    for file in FILES {
        let from = cmd::root().join(file);
        let to = folder.join(from.file_name().context("a release file without a name")?);
        copy(from, to)?;
    }
    for (example, files) in EXAMPLES {
        let to = folder.join(example);
        fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        for file in files {
            let from = cmd::root().join("scripts").join(example).join(file);
            copy(from, to.join(file))?;
        }
    }

    let archive = format!("{name}.tar.gz");
    // Owner and times fixed, so that the same sources give the same archive.
    cmd::exec(
        Command::new("tar")
            .current_dir(&dist)
            .args([
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "--mtime=@0",
            ])
            .args(["--use-compress-program=gzip -n", "-cf", &archive, &name]),
    )?;
    let sum = cmd::sha256(&dist.join(&archive))?;
    fs::write(dist.join("SHA256SUMS"), format!("{sum}  {archive}\n"))
        .context("writing SHA256SUMS")?;
    println!(
        "{}\n{}",
        dist.join(&archive).display(),
        dist.join("SHA256SUMS").display()
    );
    Ok(())
}

fn copy(from: PathBuf, to: PathBuf) -> Result<()> {
    fs::copy(&from, &to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}
