//! One namespace: its listeners, or why it has none.

use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    Means,
    serving::{ServeError, Serving},
};
use crate::{
    app::heartbeat::Heartbeat,
    netns::{Id, Namespace, Remains, users::Witness},
};

/// Between two tries where the first failed; doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A namespace that somebody uses.
pub(super) struct Known {
    pub(super) namespace: Namespace,
    /// How.
    pub(super) found: String,
    pub(super) since: Instant,
    pub(super) state: State,
    witness: Witness,
}

pub(super) enum State {
    Serving(Serving),
    Failing(Failing),
}

pub(super) struct Failing {
    pub(super) why: String,
    pause: Duration,
    next: Instant,
}

impl Known {
    pub(super) fn begin(
        means: Means<'_>,
        namespace: Namespace,
        found: String,
        witness: Witness,
    ) -> Self {
        let state = State::of(means, &namespace, FIRST_PAUSE);
        match &state {
            State::Serving(_) => {
                tracing::info!(netns = namespace.cookie(), %found, "network namespace served");
            }
            State::Failing(failing) => tracing::warn!(
                netns = namespace.cookie(),
                %found,
                "network namespace not served, its connections get their rules' fail mode: {}",
                failing.why
            ),
        }
        Self {
            namespace,
            found,
            since: Instant::now(),
            state,
            witness,
        }
    }

    /// Listeners for connections that come to applications there.
    pub(super) fn inbound(&self) -> Vec<SocketAddr> {
        let receiving = match &self.state {
            State::Serving(serving) => serving.receiving.as_deref(),
            State::Failing(_) => None,
        };
        let listeners = receiving.map(|receiving| receiving.listeners.iter());
        listeners.into_iter().flatten().map(|(at, _)| *at).collect()
    }

    pub(super) fn id(&self) -> Id {
        self.namespace.id()
    }

    /// Whether the one is still there who was seen to use it.
    pub(super) fn is_used(&self) -> bool {
        self.witness.still_uses(self.id())
    }

    /// Somebody else uses it.
    pub(super) fn seen(&mut self, witness: &Witness) {
        self.witness = witness.clone();
    }

    /// Somebody connects there and is refused: no reason to wait longer than for the first time.
    pub(super) fn try_now(&mut self) {
        if let State::Failing(failing) = &mut self.state {
            failing.next = failing.next.min(Instant::now() + FIRST_PAUSE);
        }
    }

    /// When it is to be tried again.
    pub(super) fn try_again(&mut self, means: Means<'_>) -> Option<Instant> {
        let State::Failing(failing) = &self.state else {
            return None;
        };
        if Instant::now() >= failing.next {
            let pause = (failing.pause * 2).min(LONGEST_PAUSE);
            self.state = State::of(means, &self.namespace, pause);
            if let State::Serving(_) = &self.state {
                self.since = Instant::now();
                tracing::info!(netns = self.namespace.cookie(), found = %self.found, "network namespace served");
            }
        }
        match &self.state {
            State::Failing(failing) => Some(failing.next),
            State::Serving(_) => None,
        }
    }

    /// Tells the kernel of addresses and routes that have changed.
    pub(super) fn look_at_facts(&mut self, means: Means<'_>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        let netns = self.namespace.cookie();
        match serving.follow(means, &self.namespace) {
            Ok(()) => {}
            Err(error @ ServeError::LoopbackDown) => {
                tracing::warn!(netns, "network namespace not served any more: {error}");
                serving.close(means.heartbeat).detach_all();
                let _ = means.redirector.forget_namespace(netns);
                self.state = State::failing(&error, FIRST_PAUSE);
            }
            Err(error) => {
                tracing::warn!(netns, %error, "looking at a network namespace again");
            }
        }
    }

    /// Tells the kernel who listens.
    pub(super) fn look_at_listeners(&mut self, means: Means<'_>, governed: Option<&HashSet<u64>>) {
        let State::Serving(serving) = &mut self.state else {
            return;
        };
        if let Some(receiving) = &mut serving.receiving
            && let Err(error) = receiving.look_at_listeners(means, governed)
        {
            let netns = self.namespace.cookie();
            tracing::warn!(netns, %error, "looking at listening sockets of a network namespace");
        }
    }

    /// Nobody uses it any more.
    pub(super) fn end(&mut self, means: Means<'_>) -> Remains {
        let netns = self.namespace.cookie();
        tracing::info!(netns, found = %self.found, "nobody uses the network namespace any more");
        if let Err(error) = means.redirector.forget_namespace(netns) {
            tracing::warn!(netns, %error, "forgetting a network namespace");
        }
        if let State::Serving(serving) = &mut self.state {
            serving.close(means.heartbeat).detach_all();
        }
        means.redirector.end_steering(netns);
        let remains = self.namespace.clone().end();
        // After that no tunnel is put back.
        means.data.pool.forget_namespace(netns);
        remains
    }

    /// Ends its accept loops.
    pub(super) fn stop(&mut self, heartbeat: &Heartbeat) -> Option<JoinSet<()>> {
        match &mut self.state {
            State::Serving(serving) => Some(serving.close(heartbeat)),
            State::Failing(_) => None,
        }
    }
}

impl State {
    fn of(means: Means<'_>, namespace: &Namespace, pause: Duration) -> Self {
        match Serving::begin(means, namespace) {
            Ok(serving) => Self::Serving(serving),
            Err(error) => Self::failing(&error, pause),
        }
    }

    fn failing(error: &ServeError, pause: Duration) -> Self {
        Self::Failing(Failing {
            why: error.to_string(),
            pause,
            next: Instant::now() + pause,
        })
    }
}
