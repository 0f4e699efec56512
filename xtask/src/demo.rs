//! `demo [NAME]`: set-ups that prove what they show, each with a folder in scripts/examples/.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{build, cmd, ebpf, setup, test::preflight};

mod capture;
mod daemon;
mod host;
mod ingress;
pub(crate) mod latency;
mod mesh;
mod proof;
mod sidecar;
mod stage;
mod wire;

use proof::Proofs;
use stage::Stage;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which set-up
    #[arg(value_enum, default_value_t = Name::Mesh)]
    name: Name,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Two hosts, an unmodified HTTP server and curl, mutual TLS on the wire
    Mesh,
    /// Two sidecars without interception, an HTTP server and curl that speak plain text
    Sidecar,
    /// An ingress gateway, and a reverse proxy with a client certificate in front of it
    Ingress,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    preflight::privileged()?;
    setup::ensure(setup::Purpose::Demo)?;
    println!("Building Sidetrack; the first time takes some minutes.");
    let features = ebpf::Options::default();
    let binary = build::daemon(&ebpf::build(&features)?, &features)?;

    let stage = Stage::open(binary)?;
    let mut proofs = Proofs::default();
    let played = match options.name {
        Name::Mesh => mesh::play(&stage, &mut proofs),
        Name::Sidecar => sidecar::play(&stage, &mut proofs),
        Name::Ingress => ingress::play(&stage, &mut proofs),
    };
    if let Err(error) = played {
        proofs.judge("the demo ran to its end", Err(format!("{error:#}")));
    }
    if proofs.failed() == 0 {
        stage.strike()?;
        println!("\nEverything above was checked, and nothing is left behind.");
        return Ok(());
    }
    let logs: PathBuf = stage.strike_but_logs()?;
    bail!(
        "{} of {} proofs failed; the logs of all parts are in {} until the next `cargo xtask demo`",
        proofs.failed(),
        proofs.total(),
        logs.display()
    );
}

/// The folder of an example, in the workspace.
fn example(name: &str) -> PathBuf {
    cmd::root().join("scripts/examples").join(name)
}
