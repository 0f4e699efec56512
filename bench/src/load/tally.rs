//! Counting what was done.

use std::{fmt, io, time::Duration};

use hdrhistogram::Histogram;
use nix::errno::Errno;

use super::{LONGEST, PATIENCE};
use crate::{Trouble, measured::Sample};

/// So many failures, and nobody tries on: a slice with any is not used.
const HOPELESS: u64 = 16;

/// An operation that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    doing: &'static str,
    error: io::Error,
}

impl Failed {
    /// For `map_err`.
    pub(crate) fn at(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { doing, error }
    }

    /// The same for what no system call said.
    pub(crate) fn because(doing: &'static str, why: impl fmt::Display) -> Self {
        Self {
            doing,
            error: io::Error::other(why.to_string()),
        }
    }

    /// The end of a connection that ought to go on.
    pub(crate) fn ended(doing: &'static str) -> Self {
        Self::because(doing, "the connection ended before")
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By the sockets' time limits: connect() says EINPROGRESS, all else EAGAIN.
        let waited = self.error.kind() == io::ErrorKind::WouldBlock
            || self.error.raw_os_error() == Some(Errno::EINPROGRESS as i32);
        if waited {
            let patience = PATIENCE.as_secs();
            return write!(f, "{}: nothing happened for {patience} s", self.doing);
        }
        write!(f, "{}: {}", self.doing, self.error)
    }
}

/// What was done so far.
#[derive(Debug)]
pub(crate) struct Tally {
    latencies: Histogram<u64>,
    done: u64,
    failed: u64,
    reason: Option<String>,
    bytes: u64,
}

impl Tally {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, Trouble> {
        Ok(Self {
            latencies: Self::histogram()?,
            done: 0,
            failed: 0,
            reason: None,
            bytes: 0,
        })
    }

    /// Nanoseconds, three significant digits, as long as any slice may take.
    pub(crate) fn histogram() -> Result<Histogram<u64>, Trouble> {
        let longest = 4 * (LONGEST + PATIENCE).as_nanos();
        Histogram::new_with_bounds(1, u64::try_from(longest).unwrap_or(u64::MAX), 3)
            .map_err(|error| Trouble::new("making a histogram", error))
    }

    /// An operation was done, and moved so many bytes.
    pub(crate) fn done(&mut self, took: Duration, bytes: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos);
        self.done += 1;
        self.bytes += bytes;
    }

    /// Operations of which no latency is asked were done.
    pub(crate) fn done_untimed(&mut self, operations: u64, bytes: u64) {
        self.done += operations;
        self.bytes += bytes;
    }

    /// An operation failed.
    pub(crate) fn failed(&mut self, why: impl fmt::Display) {
        self.failed_many(1, why);
    }

    /// So many failed, all for one reason.
    pub(crate) fn failed_many(&mut self, operations: u64, why: impl fmt::Display) {
        self.failed += operations;
        if self.reason.is_none() {
            self.reason = Some(why.to_string());
        }
    }

    /// Whether to go on has no use.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.failed >= HOPELESS
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.latencies += other.latencies;
        self.done += other.done;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.reason = self.reason.take().or(other.reason);
    }

    /// The slice is over.
    pub(crate) fn finish(self, took: Duration) -> Sample {
        Sample {
            latencies: self.latencies,
            done: self.done,
            failed: self.failed,
            reason: self.reason,
            bytes: self.bytes,
            took,
        }
    }
}
