//! `setup`: what the other commands need, checked first and announced before it is installed.

use anyhow::Result;

use crate::cmd::Missing;

pub(crate) mod bpf_linker;
mod bpffs;
mod debian;
mod mitmproxy;
mod rust;

pub(crate) use rust::cargo_deny;

/// What a command is going to do; each gets only what it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compile both sides.
    Build,
    /// `Build`, and the programs that the demo shows and proves with.
    Demo,
    /// `Build`, and the peers and clients of other make that tests run.
    Test,
    /// `Build`, and the peers that are measured beside Sidetrack.
    Bench,
    /// `Build`, and cargo-deny.
    Lint,
}

pub(crate) fn run() -> Result<()> {
    for purpose in [
        Purpose::Build,
        Purpose::Demo,
        Purpose::Test,
        Purpose::Bench,
        Purpose::Lint,
    ] {
        ensure(purpose)?;
    }
    println!("setup: everything is there");
    Ok(())
}

/// Installs what is missing for `purpose`.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    // Cheap refusals first: nobody should wait for a compiler to learn that root is missing.
    debian::ensure(purpose)?;
    if matches!(purpose, Purpose::Demo | Purpose::Test | Purpose::Bench) {
        bpffs::ensure()?;
    }
    if purpose == Purpose::Test {
        mitmproxy::ensure()?;
    }
    if matches!(purpose, Purpose::Test | Purpose::Bench) {
        debian::nginx_stream()?;
    }
    rust::component(
        "rust-src",
        "the BPF target's core library is compiled from it",
    )?;
    bpf_linker::ensure()?;
    if purpose == Purpose::Lint {
        rust::component("clippy", "lint runs it")?;
        rust::component("rustfmt", "lint runs it")?;
        cargo_deny::ensure()?;
    }
    Ok(())
}

/// Says what is installed and why, before it happens.
fn announce(what: &str, why: &str) {
    println!("setup: installing {what}: {why}");
}

fn missing(what: impl Into<String>) -> anyhow::Error {
    Missing(what.into()).into()
}
