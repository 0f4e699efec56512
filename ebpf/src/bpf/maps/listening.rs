//! How many applications listen where.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use sidetrack_abi::inbound::ListeningKey;

use super::LISTENING;

/// Adds to a count that several CPUs may change at once. The target declares no atomic
/// read-modify-write, since the oldest instruction set cannot return the old value; without
/// use for that value this becomes the instruction that every kernel has.
#[inline(always)]
fn add(count: *mut u64, value: u64) {
    // SAFETY: an aligned word of a map's value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, value) };
}

/// One more socket listens at `key`.
#[inline(always)]
pub(in crate::bpf) fn add_listening(key: &ListeningKey) {
    if let Some(count) = LISTENING.get_ptr_mut(key) {
        add(count, 1);
    } else {
        // Another CPU may have been first; then add to its entry.
        const NO_EXIST: u64 = 1;
        if LISTENING.insert(key, 1, NO_EXIST).is_err()
            && let Some(count) = LISTENING.get_ptr_mut(key)
        {
            add(count, 1);
        }
    }
}

/// One socket less listens at `key`. User space compares the counts with the kernel's list of
/// sockets and so mends what two CPUs could do to one entry here at the same time.
#[inline(always)]
pub(in crate::bpf) fn remove_listening(key: &ListeningKey) {
    let Some(count) = LISTENING.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: an aligned word of the map's value.
    let left = unsafe { core::ptr::read_volatile(count) };
    if left <= 1 {
        let _ = LISTENING.remove(key);
    } else {
        add(count, u64::MAX);
    }
}

/// How many sockets listen at `key`.
#[inline(always)]
pub(in crate::bpf) fn listening(key: &ListeningKey) -> u64 {
    // SAFETY: an aligned word of the map's value; other CPUs may change it.
    LISTENING
        .get_ptr(key)
        .map_or(0, |count| unsafe { core::ptr::read_volatile(count) })
}
