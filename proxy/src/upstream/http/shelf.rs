//! Connections to one address that requests may use.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Lease, Needs, one::Idle, two::Two};
use crate::{addr::UpstreamAddr, refusal::Refusal};

/// How long a connection may be idle: less than the 60 s and more after which most load balancers
/// and servers close theirs, so that it is this end that closes, and no request meets a close. Of
/// servers that close sooner the answers mostly say so (`Keep-Alive: timeout=5`).
pub(super) const IDLE: Duration = Duration::from_secs(55);

/// Idle HTTP/1.1 connections to one address: as many requests at once find one again.
pub(super) const MOST_IDLE: usize = 256;

/// Connections to one address.
pub(super) struct Shelf {
    pub(super) at: UpstreamAddr,
    /// Held while a connection is made that may serve several requests.
    pub(super) dialling: tokio::sync::Mutex<()>,
    speaks_one: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The one that was used last is at the end.
    idle: VecDeque<Idle>,
    shared: Vec<Arc<Two>>,
    retired: bool,
    failures: u64,
    failure: Option<Refusal>,
}

impl Shelf {
    pub(super) fn new(at: UpstreamAddr) -> Self {
        Self {
            at,
            dialling: tokio::sync::Mutex::default(),
            speaks_one: AtomicBool::new(false),
            kept: Mutex::default(),
        }
    }

    /// A connection for one request: HTTP/2 with room for it, else the HTTP/1.1 connection that was
    /// used last, so that those that are not needed grow old and go.
    pub(super) fn take(self: &Arc<Self>, needs: Needs) -> Option<Lease> {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        if needs == Needs::Any
            && let Some(two) = kept.shared.iter().find_map(|two| two.lease(now))
        {
            return Some(Lease::Two(two));
        }
        while let Some(idle) = kept.idle.pop_back() {
            if let Some(lease) = idle.lease(self, now) {
                return Some(Lease::One(lease));
            }
        }
        None
    }

    /// Keeps `idle` for the next request. One too many pushes out the one that was idle longest.
    pub(super) fn put(&self, idle: Idle) {
        let mut kept = self.kept.lock();
        // Its task forgets it after it is seen to be closed, so that none stays.
        if kept.retired || idle.is_closed() {
            return;
        }
        let full = kept.idle.len() >= MOST_IDLE;
        let out = full.then(|| kept.idle.pop_front());
        kept.idle.push_back(idle);
        drop(kept);
        drop(out);
    }

    /// Shares `two` with other requests.
    pub(super) fn share(&self, two: &Arc<Two>) {
        let mut kept = self.kept.lock();
        if !kept.retired && !two.is_closed() {
            kept.shared.push(Arc::clone(two));
        }
    }

    /// Forgets what is closed.
    pub(super) fn forget_closed(&self) {
        let mut kept = self.kept.lock();
        kept.idle.retain(|idle| !idle.is_closed());
        kept.shared.retain(|two| !two.is_closed());
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.idle.retain(|idle| now < idle.until());
        kept.shared.retain(|two| !two.is_over(now));
    }

    /// Closes all that is idle, and from now on what becomes it.
    pub(super) fn retire(&self) {
        let mut kept = self.kept.lock();
        kept.retired = true;
        let out = (
            std::mem::take(&mut kept.idle),
            std::mem::take(&mut kept.shared),
        );
        drop(kept);
        drop(out);
    }

    /// Whether ALPN has settled on HTTP/1.1 here.
    pub(super) fn speaks_one(&self) -> bool {
        self.speaks_one.load(Ordering::Relaxed)
    }

    /// ALPN has settled on HTTP/1.1.
    pub(super) fn found_to_speak_one(&self) {
        self.speaks_one.store(true, Ordering::Relaxed);
    }

    /// How often a connection for several requests was not to be made.
    pub(super) fn failures(&self) -> u64 {
        self.kept.lock().failures
    }

    /// Why one could not be made since there were `failures`.
    pub(super) fn failed_since(&self, failures: u64) -> Option<Refusal> {
        let kept = self.kept.lock();
        let failed = kept.failures != failures;
        failed.then(|| kept.failure.clone()).flatten()
    }

    /// One could not be made.
    pub(super) fn note_failure(&self, refusal: &Refusal) {
        let mut kept = self.kept.lock();
        kept.failures += 1;
        kept.failure = Some(refusal.clone());
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let kept = self.kept.lock();
        kept.idle.len() + kept.shared.len()
    }
}
