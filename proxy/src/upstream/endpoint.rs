//! One address of an upstream: whether it answers, and how much of ours is under way to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{addr::UpstreamAddr, config::Health, refusal::Refusal};

/// One address of an upstream. It outlives reloads, with what is known of it.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it is.
    pub at: UpstreamAddr,
    upstream: Arc<str>,
    /// The name that was resolved to it.
    host: Mutex<Option<Arc<str>>>,
    up: AtomicBool,
    /// In a row, while it is up.
    failures: AtomicU32,
    /// Since the last check.
    doubted: AtomicBool,
    under_way: AtomicUsize,
    down: Mutex<Down>,
    wants_check: Notify,
}

/// What is known of an endpoint that is down.
#[derive(Debug)]
struct Down {
    since: Instant,
    /// Checks in a row that succeeded.
    successes: u32,
    cause: String,
}

/// A connection or request that is under way to an endpoint, until it is dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Endpoint>);

impl Endpoint {
    /// One of which nothing is known, so that it is taken to be up.
    pub fn new(upstream: Arc<str>, at: UpstreamAddr) -> Self {
        Self {
            at,
            upstream,
            host: Mutex::default(),
            up: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            doubted: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            down: Mutex::new(Down {
                since: Instant::now(),
                successes: 0,
                cause: String::new(),
            }),
            wants_check: Notify::new(),
        }
    }

    /// The name that was resolved to it; `None` if its address is configured.
    pub fn host(&self) -> Option<Arc<str>> {
        self.host.lock().clone()
    }

    /// Notes it.
    pub fn is_called(&self, host: Option<Arc<str>>) {
        *self.host.lock() = host;
    }

    /// Whether it gets connections.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Why it is down; `None` if it is up.
    pub fn cause(&self) -> Option<String> {
        (!self.is_up()).then(|| self.down.lock().cause.clone())
    }

    /// How many connections and requests are under way to it.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Begins one.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// A connection to it succeeded. That alone does not make it up again: of several that were
    /// begun while it was up, one may be late.
    pub fn answered(&self) {
        // No write to a line that all threads read, in the usual case.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A connection to it failed, or a check did.
    pub fn failed(&self, refusal: &Refusal, health: &Health) {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let mut down = self.down.lock();
        down.successes = 0;
        if failures < health.down || !self.up.swap(false, Ordering::Relaxed) {
            return;
        }
        *down = Down {
            since: Instant::now(),
            successes: 0,
            cause: refusal.detail.clone(),
        };
        drop(down);
        tracing::warn!(
            upstream = %self.upstream, at = %self.at, reason = %refusal.reason,
            "is down: {}; likely {}", refusal.detail, refusal.reason.advice()
        );
        self.wants_check.notify_one();
    }

    /// Something failed of which it is not known whether the endpoint was the reason, or only the
    /// client: a check finds out.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
        self.wants_check.notify_one();
    }

    /// A check of it succeeded.
    pub fn checked(&self, health: &Health) {
        self.answered();
        let mut down = self.down.lock();
        down.successes = down.successes.saturating_add(1);
        if down.successes < health.up || self.up.swap(true, Ordering::Relaxed) {
            return;
        }
        let after = down.since.elapsed();
        drop(down);
        tracing::info!(upstream = %self.upstream, at = %self.at, ?after, "up again");
    }

    /// Waits until it is to be checked: it is down, or somebody doubts it.
    pub async fn wants_check(&self) {
        while self.is_up() && !self.doubted.swap(false, Ordering::Relaxed) {
            self.wants_check.notified().await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
