//! `test`: every test. The privileged ones run the release daemon against this machine's kernel;
//! what cannot run is an error (exit 77), never a skip that looks like a pass.

use std::{num::NonZero, path::Path, process::Command, thread};

use anyhow::{Result, bail};

use crate::{
    build::{self, OBJECT_VARIABLE},
    cmd, ebpf, setup,
};

pub(crate) mod leftovers;
pub(crate) mod preflight;
mod summary;

use leftovers::Snapshot;
use summary::Summary;

/// Scales the sizes of load tests: 1.0 by default, 0.1 for a quick look.
const LOAD_VARIABLE: &str = "SIDETRACK_LOAD";

#[derive(clap::Args)]
#[command(
    after_help = "SIDETRACK_LOAD scales the sizes of load tests (default 1.0).\n\nExample: SIDETRACK_LOAD=0.1 cargo xtask test half_close"
)]
pub(crate) struct Options {
    /// Run only tests whose name contains this
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    preflight::privileged()?;
    setup::ensure(setup::Purpose::Test)?;
    let load = std::env::var(LOAD_VARIABLE).unwrap_or_else(|_| "1.0".to_owned());
    if !load
        .parse::<f64>()
        .is_ok_and(|load| load > 0.0 && load.is_finite())
    {
        bail!("{LOAD_VARIABLE}={load} is not a number above 0");
    }

    let features = ebpf::Options::default();
    let object = ebpf::build(&features)?;
    let daemon = build::daemon(&object, &features)?;
    let tests = Tests {
        object: &object,
        daemon: &daemon,
        load: &load,
        filter: options.filter.as_deref(),
    };

    println!("\n== unprivileged: unit, property and documentation tests");
    let plain = tests.run(&["--workspace"], &[])?;

    println!("\n== privileged: the release daemon on this kernel");
    let before = Snapshot::take()?;
    // --workspace again, for the same features: another set would rebuild every dependency.
    // --lib for the long ones, which a plain `cargo test` leaves out too.
    let threads = format!("--test-threads={}", at_once());
    let privileged = tests.run(
        &["--workspace", "--lib", "--test", "*"],
        &["--ignored", &threads],
    )?;
    let left = before.left_behind()?;

    println!(
        "\n{} unprivileged and {} privileged tests ran",
        plain.ran(),
        privileged.ran()
    );
    for name in plain.failures.iter().chain(&privileged.failures) {
        println!("failed: {name}");
    }
    let total = plain.plus(&privileged);
    for why in &total.skipped {
        println!("tested nothing: {why}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    verdict(options, &privileged, &total)?;
    if !left.is_empty() {
        bail!("the tests left behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}

/// How many privileged tests run beside each other. Each has hosts, cgroups and pins of its own, and
/// waits for most of its time: for daemons that start, and for what the kernel is asked once a second.
fn at_once() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get) + 1
}

fn verdict(options: &Options, privileged: &Summary, total: &Summary) -> Result<()> {
    if total.failed > 0 || !total.success {
        bail!(
            "{} tests failed or did not finish; see above",
            total.failed.max(1)
        );
    }
    match &options.filter {
        Some(filter) if total.passed == 0 => bail!("no test's name contains {filter:?}"),
        None if privileged.ran() == 0 => bail!("not one privileged test ran"),
        _ => Ok(()),
    }
}

struct Tests<'a> {
    object: &'a Path,
    daemon: &'a Path,
    load: &'a str,
    filter: Option<&'a str>,
}

impl Tests<'_> {
    fn run(&self, select: &[&str], libtest: &[&str]) -> Result<Summary> {
        let mut summary = Summary::default();
        let mut command: Command = cmd::cargo("test");
        command
            .env(OBJECT_VARIABLE, self.object)
            .env("SIDETRACK_BIN", self.daemon)
            .env(LOAD_VARIABLE, self.load)
            // One red test must not hide the others' verdicts.
            .args(["--locked", "--no-fail-fast"])
            .args(select)
            .arg("--")
            .args(libtest)
            .args(self.filter);
        summary.success = cmd::stream(&mut command, |line| {
            println!("{line}");
            summary.read(line);
        })?;
        Ok(summary)
    }
}
