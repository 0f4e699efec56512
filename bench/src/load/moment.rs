//! Moments of the one clock that both agents read, and waiting for one.

use std::{num::NonZeroU64, time::Duration};

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

/// How long before a planned moment a thread ceases to sleep, and looks at the clock: a CPU that was
/// idle takes some tens of microseconds to run a thread that was woken, and each of them would
/// count as latency. More would take CPU time from the proxies that are measured.
const SPIN: u64 = 20_000;

/// A moment of CLOCK_MONOTONIC, which is the same in all network namespaces of a host: two agents
/// agree on a span by it without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // Neither is negative: the clock begins with the host.
        Self(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// From `earlier` to this.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Sleeps until shortly before, and spins to it.
    pub(crate) fn wait(self) {
        let wake = self.0.saturating_sub(SPIN);
        if Self::now().0 < wake {
            let wake = Timespec {
                tv_sec: i64::try_from(wake / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(wake % 1_000_000_000).unwrap_or(0),
            };
            // Cut short by a signal, it spins for longer.
            let _ = clock_nanosleep_absolute(ClockId::Monotonic, &wake);
        }
        while Self::now() < self {
            std::hint::spin_loop();
        }
    }
}

/// Has the kernel wake this thread at the moment that it asked for. It may else be 50 µs late, so that
/// it can wake several at once.
pub(crate) fn wake_exactly() {
    // Where it is refused, the spin begins late and latencies show it, on all paths alike.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// From one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
}
