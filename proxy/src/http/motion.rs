//! Whether a body moves.
//!
//! No clock is read and no timer is set where bytes move: each frame changes a number, and whoever
//! watches over the connection looks from time to time whether it is still the same.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One direction of a request.
#[derive(Debug, Default)]
pub(super) struct Motion {
    bytes: AtomicU64,
    turn: AtomicU32,
    /// The client has to move now: to send more, or to take what it was given.
    waits: AtomicBool,
    /// The turn at the last look.
    seen: AtomicU32,
}

impl Motion {
    /// Frames of `bytes` moved; whether it is the client's turn now.
    pub(super) fn moved(&self, bytes: usize, waits: bool) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Whether it is the client's turn now.
    pub(super) fn waits(&self, waits: bool) {
        if self.waits.load(Ordering::Relaxed) != waits {
            self.turn.fetch_add(1, Ordering::Relaxed);
            self.waits.store(waits, Ordering::Relaxed);
        }
    }

    /// Bytes moved that are no frames.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A number that changes with each frame.
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether it has been the client's turn ever since this was asked the last time.
    pub(super) fn has_stalled(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        let same = self.seen.swap(turn, Ordering::Relaxed) == turn;
        // The first turn is the first frame: before it, nobody was ever waited for.
        same && self.waits.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_stalled_that_waits_for_the_client_from_one_look_to_the_next() {
        let motion = Motion::default();
        assert!(
            !motion.has_stalled() && !motion.has_stalled(),
            "nobody waits"
        );
        motion.waits(true);
        assert!(!motion.has_stalled(), "not long enough");
        motion.moved(7, true);
        assert!(!motion.has_stalled(), "it has moved");
        motion.waits(true);
        assert!(motion.has_stalled());
        motion.waits(false);
        assert!(
            !motion.has_stalled() && !motion.has_stalled(),
            "the server waits"
        );
        assert_eq!(motion.bytes(), 7);
    }
}
