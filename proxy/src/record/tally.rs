//! How many connections ended for which reason.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::refusal::Reason;

/// One count for each reason. A process is one daemon, so that they are its own.
static REFUSED: [AtomicU64; Reason::ALL.len()] = [const { AtomicU64::new(0) }; Reason::ALL.len()];

/// Counts one refusal: called by the record that tells of it and by nobody else.
pub(super) fn count(reason: Reason) {
    if let Some(count) = REFUSED.get(reason as usize) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts so far, of the reasons that occurred.
pub fn refused() -> BTreeMap<&'static str, u64> {
    Reason::ALL
        .iter()
        .zip(&REFUSED)
        .map(|(reason, count)| (reason.label(), count.load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_count_of_its_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason}");
        }
    }
}
