//! The `sidetrack` binary: parses what was typed, does it, says what failed.

use std::process::{ExitCode, Termination};

use clap::Parser;
use sidetrack::cli::Cli;

/// rustls copies each record that it has decrypted out of one allocation into another. glibc's places them
/// so that, often for a whole connection, the copy begins a few bytes further into its page than the
/// original: some releases of glibc (2.36 is one) copy with `rep movsb`, and that takes AMD's Zen 3 twenty
/// times as long then (glibc's bug 30994). jemalloc places allocations of this size at multiples of 64
/// bytes by chance. Not for aarch64, where it works with no larger pages than those of the machine that
/// built it.
#[cfg(target_arch = "x86_64")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
