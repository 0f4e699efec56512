//! What one slice gave.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What the client's agent saw. Operations are connections, messages or requests, as the load says.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Nanoseconds of each operation, three significant digits; empty for bulk and idle.
    pub latencies: Histogram<u64>,
    /// Operations that were done.
    pub done: u64,
    /// Operations that failed; a slice with any is not used and ends the run with the reason.
    pub failed: u64,
    /// Payload bytes, both ways together.
    pub bytes: u64,
    /// How long the slice took, as the client saw it.
    pub took: Duration,
}

/// What processes used, by the kernel's own accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and kernel together.
    pub cpu: Duration,
    /// Memory of user space at the end, in bytes (proportional set size, without what is mapped from
    /// files).
    pub memory: u64,
}

/// A slice with what it cost.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What the client saw.
    pub sample: Sample,
    /// What all proxies of the path used together. Zero where there is none.
    pub proxies: Usage,
    /// CPU time of the whole machine, interrupts included.
    pub machine: Duration,
}
