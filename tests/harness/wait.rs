//! Waiting for conditions: a test never takes the passing of time for a proof.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before the test calls it false.
pub const DEADLINE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// Probes until there is a value; panics with `what` when none came in [`DEADLINE`].
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, probe).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain: {what}"))
}

/// Waits until `condition` holds; panics with `what` when it did not in [`DEADLINE`].
#[track_caller]
pub fn holds(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// Waits until `condition` holds; panics with `what` when it did not in `time`, by the clock and
/// not by the number of probes: for what was promised within a time.
#[track_caller]
pub fn holds_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    let held = within(DEADLINE, || condition().then(|| begun.elapsed()));
    match held {
        Some(took) => assert!(
            took <= time,
            "{took:?} and not {time:?} passed until {what}"
        ),
        None => panic!("waited {DEADLINE:?} in vain: {what}"),
    }
}

/// Probes until there is a value or the time is over.
pub fn within<T>(time: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
