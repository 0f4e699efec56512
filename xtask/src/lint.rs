//! `lint`: what a reviewer should not have to say.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{cmd, ebpf, setup, tidy};

/// A step's name and how it is done.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 7] = [
    ("formatting", formatting),
    ("clippy on the host", clippy_host),
    ("clippy on the BPF target", clippy_bpf),
    ("documentation", documentation),
    ("dependencies", dependencies),
    ("shell scripts", shell),
    ("tidiness", tidy::run),
];

pub(crate) fn run() -> Result<()> {
    setup::ensure(setup::Purpose::Lint)?;
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("== {name}");
        if let Err(error) = step() {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting() -> Result<()> {
    cmd::exec(cmd::cargo("fmt").args(["--all", "--check"]))
}

fn clippy_host() -> Result<()> {
    cmd::exec(cmd::cargo("clippy").args([
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]))
}

fn clippy_bpf() -> Result<()> {
    cmd::exec(ebpf::cargo("clippy")?.args([
        "--release",
        "--lib",
        "--bin",
        "sidetrack-bpf",
        "--",
        "-Dwarnings",
    ]))
}

fn documentation() -> Result<()> {
    cmd::exec(cmd::cargo("doc").env("RUSTDOCFLAGS", "-Dwarnings").args([
        "--locked",
        "--no-deps",
        "--workspace",
        "--document-private-items",
    ]))
}

fn dependencies() -> Result<()> {
    cmd::exec(deny()?.args([
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))?;
    // Its database comes from the network, which a build machine need not have.
    let fetched = deny()?
        .args(["fetch", "db"])
        .output()
        .context("starting cargo-deny")?;
    if fetched.status.success() {
        return cmd::exec(deny()?.args([
            "--offline",
            "check",
            "--hide-inclusion-graph",
            "advisories",
        ]));
    }
    println!("NOT CHECKED: advisories; their database could not be fetched");
    Ok(())
}

fn deny() -> Result<Command> {
    let mut command = Command::new(setup::cargo_deny::path()?);
    command.current_dir(cmd::root()).arg("--locked");
    Ok(command)
}

fn shell() -> Result<()> {
    let scripts = cmd::output(Command::new("git").current_dir(cmd::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.sh",
        ".ci/*",
    ]))?;
    let scripts: Vec<&str> = scripts.lines().collect();
    for script in &scripts {
        cmd::exec(
            Command::new("bash")
                .current_dir(cmd::root())
                .args(["-n", script]),
        )?;
    }
    match cmd::which("shellcheck") {
        Some(shellcheck) => cmd::exec(check(&shellcheck).args(scripts)),
        None => {
            println!("NOT CHECKED beyond syntax: shellcheck is not installed");
            Ok(())
        }
    }
}

fn check(shellcheck: &Path) -> Command {
    let mut command = Command::new(shellcheck);
    command.current_dir(cmd::root());
    command
}
