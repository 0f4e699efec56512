//! The `sidetrack` binary: parses what was typed, does it, says what failed.

use std::process::{ExitCode, Termination};

use clap::Parser;
use sidetrack::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(exit) => exit.report(),
        Err(failure) => {
            if !failure.is_silent() {
                use std::io::Write;
                // With standard error closed there is nobody left to tell; the code remains.
                let _ = writeln!(std::io::stderr(), "{failure}");
            }
            failure.exit().report()
        }
    }
}
