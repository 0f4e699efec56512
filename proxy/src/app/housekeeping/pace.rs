//! How often it is looked where links lead.

use std::time::Duration;

use tokio::time::Instant;

use super::PERIOD;

const LONGEST: Duration = Duration::from_secs(30);

/// Each change makes a generation of the rules, which is work for all: a link that changes again and
/// again is looked at less often.
pub(super) struct Pace {
    /// Until the next look.
    pub(super) pause: Duration,
    changed: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            pause: PERIOD,
            changed: None,
        }
    }

    /// It was looked, and something has changed or not.
    pub(super) fn looked(&mut self, changed: bool, now: Instant) {
        let is_calm = self
            .changed
            .is_none_or(|at| now.duration_since(at) > 2 * LONGEST);
        if is_calm {
            self.pause = PERIOD;
        }
        if changed {
            self.pause = (self.pause * 2).min(LONGEST);
            self.changed = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes that are seen within an hour if there is one every so often.
    fn seen(every: Duration) -> u32 {
        let mut pace = Pace::new();
        let (start, mut at, mut before) = (Instant::now(), Duration::ZERO, 0);
        let mut seen = 0;
        while at < Duration::from_secs(3600) {
            at += pace.pause;
            let version = at.as_millis() / every.as_millis();
            seen += u32::from(version != before);
            pace.looked(version != before, start + at);
            before = version;
        }
        seen
    }

    #[test]
    fn a_link_that_never_rests_makes_a_generation_each_half_a_minute() {
        for millis in [100, 1000, 5000] {
            let seen = seen(Duration::from_millis(millis));
            assert!((100..=130).contains(&seen), "{seen}");
        }
        assert!(seen(Duration::from_secs(20)) <= 130);
    }

    #[test]
    fn a_link_that_rests_is_looked_at_each_second_again() {
        let mut pace = Pace::new();
        let start = Instant::now();
        for _ in 0..10 {
            pace.looked(true, start);
        }
        assert_eq!(pace.pause, LONGEST);
        pace.looked(false, start + LONGEST);
        assert_eq!(pace.pause, LONGEST);
        pace.looked(false, start + 3 * LONGEST);
        assert_eq!(pace.pause, PERIOD);
        assert_eq!(seen(Duration::from_secs(600)), 6, "each of them");
    }
}
