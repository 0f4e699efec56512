//! When an accept loop had its last turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Marked by an accept loop, read by the heartbeat.
#[derive(Clone, Debug)]
pub struct Turn {
    at: Arc<AtomicU64>,
    every: Duration,
}

impl Turn {
    /// Of a loop that begins now and has a turn at least every `every`.
    pub fn now(every: Duration) -> Self {
        Self {
            at: Arc::new(AtomicU64::new(monotonic())),
            every,
        }
    }

    /// The loop has its turn.
    pub fn mark(&self) {
        self.at.store(monotonic(), Ordering::Relaxed);
    }

    /// CLOCK_MONOTONIC of its last turn, in nanoseconds: the clock of `bpf_ktime_get_ns()`.
    pub fn last(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Whether it is of the same loop.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.at, &other.at)
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Interval {
        let mut due = interval(self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        due
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanoseconds) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}
