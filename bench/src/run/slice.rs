//! One slice as it is kept: what every figure of the report is computed from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Trouble, measured::Measured};

/// What one slice gave. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Slice {
    /// Operations.
    pub done: u64,
    /// Payload bytes, both ways together.
    pub bytes: u64,
    /// Its length, as the client saw it.
    pub took: u64,
    /// Latency that half of the operations had at most. Zero where no single operation is timed.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// CPU time of all proxies.
    pub cpu: u64,
    /// CPU time of the whole machine.
    pub machine: u64,
    /// Memory of all proxies, in bytes.
    pub memory: u64,
    /// Memory of all proxies before there was any connection, where the case is about memory.
    pub memory_without: u64,
}

impl Slice {
    /// What is kept of `measured`. `without` is the memory that the proxies had before.
    ///
    /// # Errors
    /// An operation failed, or nothing was done: such a slice says nothing.
    pub fn of(measured: &Measured, without: u64) -> Result<Self, Trouble> {
        let sample = &measured.sample;
        let doing = || "measuring a slice".to_owned();
        if sample.failed > 0 {
            let all = sample.done.saturating_add(sample.failed);
            let cause = sample
                .reason
                .as_deref()
                .unwrap_or("for a reason that nobody told");
            return Err(Trouble::new(
                doing(),
                format!(
                    "{} of {all} operations failed, the first one: {cause}",
                    sample.failed
                ),
            )
            .fix(
                "run this case and path alone (--case, --path) and read the logs of its processes",
            ));
        }
        if sample.done == 0 && sample.bytes == 0 {
            return Err(Trouble::new(doing(), "nothing was done in it")
                .fix("a machine this busy cannot measure; end other work and run again"));
        }
        let at = |quantile: f64| match sample.latencies.is_empty() {
            true => 0,
            false => sample.latencies.value_at_quantile(quantile),
        };
        Ok(Self {
            done: sample.done,
            bytes: sample.bytes,
            took: nanos(sample.took),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            cpu: nanos(measured.proxies.cpu),
            machine: nanos(measured.machine),
            memory: measured.proxies.memory,
            memory_without: without,
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
