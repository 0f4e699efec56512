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
    /// What the first that failed was doing, and why it failed.
    pub reason: Option<String>,
    /// Payload bytes, both ways together, from the first to the last.
    pub bytes: u64,
    /// How long the slice took, as the client saw it. For bulk how long `bytes` take at the rate that
    /// the receivers saw between two moments, so that neither the connection's set-up nor bytes
    /// that lay in buffers at the end count in a rate, and all of them count in the cost of a byte.
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
