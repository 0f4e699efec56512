//! One namespace: its listeners, or why it has none.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::Means;
use crate::{
    app::listeners::is_family_missing,
    kernel::{Family, KernelError, changes::Changes, local::Facts},
    netns::{Id, Namespace, Remains, users::Witness},
    outbound,
    socket::{self, Turn},
};

/// Between two tries where the first failed; doubled each time up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a namespace has no listeners.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("entering it: {0}; it takes CAP_SYS_ADMIN in the user namespace that owns it")]
    Enter(#[source] io::Error),
    #[error("its loopback interface is down; `ip link set lo up` in it")]
    LoopbackDown,
    #[error("binding a listener on its loopback address: {0}")]
    Listen(#[source] io::Error),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

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

pub(super) struct Serving {
    pub(super) listeners: Vec<std::net::SocketAddr>,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
    turns: Vec<Turn>,
    /// None if they cannot be watched, so that they are looked at each time.
    changes: Option<Changes>,
    stale: bool,
}

pub(super) struct Failing {
    pub(super) why: String,
    pause: Duration,
    next: Instant,
}

/// What was made inside a namespace.
struct Inside {
    listeners: Vec<(Family, TcpListener)>,
    changes: Option<Changes>,
    facts: Facts,
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
        serving.stale |= serving.changes.as_mut().is_none_or(Changes::any);
        if !serving.stale {
            return;
        }
        let looked = self.namespace.enter(Facts::of_this_thread);
        let told = looked.map_err(ServeError::Enter).and_then(|facts| {
            let netns = self.namespace.cookie();
            Ok(means.redirector.serve_namespace(netns, &facts?)?)
        });
        match told {
            Ok(()) => serving.stale = false,
            Err(error) => tracing::warn!(
                netns = self.namespace.cookie(),
                %error,
                "looking at a network namespace's addresses and routes again"
            ),
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
            for turn in &serving.turns {
                means.heartbeat.forget(turn);
            }
            serving.stop.send_replace(true);
            serving.loops.detach_all();
        }
        let remains = self.namespace.clone().end();
        // After that no tunnel is put back.
        means.data.pool.forget_namespace(netns);
        remains
    }

    /// Ends its accept loops.
    pub(super) fn stop(&mut self) -> Option<JoinSet<()>> {
        match &mut self.state {
            State::Serving(serving) => {
                serving.stop.send_replace(true);
                Some(std::mem::take(&mut serving.loops))
            }
            State::Failing(_) => None,
        }
    }
}

impl State {
    fn of(means: Means<'_>, namespace: &Namespace, pause: Duration) -> Self {
        match Serving::begin(means, namespace) {
            Ok(serving) => Self::Serving(serving),
            Err(error) => Self::Failing(Failing {
                why: error.to_string(),
                pause,
                next: Instant::now() + pause,
            }),
        }
    }
}

impl Serving {
    fn begin(means: Means<'_>, namespace: &Namespace) -> Result<Self, ServeError> {
        let inside = namespace.enter(Inside::make).map_err(ServeError::Enter)??;
        let mut serving = Self {
            listeners: Vec::new(),
            stop: watch::channel(false).0,
            loops: JoinSet::new(),
            turns: Vec::new(),
            changes: inside.changes,
            stale: false,
        };
        let netns = namespace.cookie();
        let registered = inside.listeners.iter().try_for_each(|(family, listener)| {
            means.redirector.register_in(netns, listener, *family)
        });
        registered.and_then(|()| means.redirector.serve_namespace(netns, &inside.facts))?;
        for (_, listener) in inside.listeners {
            let turn = means.heartbeat.turn();
            serving.turns.push(turn.clone());
            serving.listeners.extend(listener.local_addr());
            serving.loops.spawn(outbound::accept(
                Arc::clone(means.data),
                namespace.clone(),
                listener,
                serving.stop.subscribe(),
                turn,
            ));
        }
        Ok(serving)
    }
}

impl Inside {
    /// One listener of each family: what connects from one container is bounded by the ports of that
    /// one listener, and each costs a task that has its turn several times a second.
    fn make() -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for family in [Family::V4, Family::V6] {
            match socket::listen_on_loopback(family) {
                Ok(listener) => listeners.push((family, listener)),
                Err(error) if is_family_missing(&error) => {}
                Err(error) => return Err(ServeError::Listen(error)),
            }
        }
        if listeners.is_empty() {
            return Err(ServeError::LoopbackDown);
        }
        Ok(Self {
            listeners,
            // Before the look, so that no change is missed between.
            changes: Changes::watch().ok(),
            facts: Facts::of_this_thread()?,
        })
    }
}
