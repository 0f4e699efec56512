//! The hop's routes in all network namespaces.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{HopRoutes, Removed};
use crate::{
    kernel::{KernelError, sys},
    netns::{Namespace, NamespaceError, users},
};

/// Why routes may be left.
#[derive(Debug, thiserror::Error)]
pub enum Left {
    /// Applications answer by them.
    #[error("{0}; `sidetrack detach` removes them when these are closed")]
    Needed(Removed),
    /// As before, in another namespace.
    #[error(
        "in the network namespace {0}: {1}; `sidetrack detach` removes them when these \
             are closed"
    )]
    NeededElsewhere(String, Removed),
    /// They cannot be removed.
    #[error("{0}")]
    Kept(#[source] KernelError),
    /// As before, in another namespace.
    #[error("in the network namespace {0}: {1}")]
    KeptElsewhere(String, #[source] KernelError),
    /// Nobody looked.
    #[error("{0}")]
    NotEntered(#[source] NamespaceError),
    /// As before.
    #[error("entering the network namespace {0}: {1}")]
    NotInside(String, #[source] io::Error),
    /// Nobody looked in any.
    #[error("looking for other network namespaces: {0}")]
    NotLooked(#[source] io::Error),
    /// There may be more of them.
    #[error(
        "processes of which this user may not see their network namespace may be in one that has \
         routes; detach with CAP_SYS_PTRACE"
    )]
    Hidden,
}

impl HopRoutes {
    /// Removes them in every namespace that somebody uses: a daemon makes them before it steers
    /// there, and leaves them when it ceases to, so that no pin tells where they are. What nobody
    /// uses takes its own along. Waits `patience` for all of them together. Where it cannot be
    /// looked counts only if a namespace of `steered` was not met: where this process may not go,
    /// the daemon most likely could not either.
    pub fn remove_everywhere(&self, steered: &[u64], patience: Duration) -> Vec<Left> {
        let until = Instant::now() + patience;
        let remove = || self.remove(until.saturating_duration_since(Instant::now()));
        let mut left = Vec::new();
        match remove() {
            Ok(Removed::All) => {}
            Ok(kept) => left.push(Left::Needed(kept)),
            Err(error) => left.push(Left::Kept(error)),
        }
        let own = match sys::netns_cookie().and_then(Namespace::own) {
            Ok(own) => own,
            Err(error) => {
                left.push(Left::NotLooked(error));
                return left;
            }
        };
        let used = users::all();
        let (mut met, mut unseen) = (Vec::new(), Vec::new());
        for (id, witness) in &used.found {
            if *id == own.id() {
                continue;
            }
            let namespace = match Namespace::open(witness.path(), &own) {
                Ok(namespace) => namespace,
                Err(error) if error.is_absent() => continue,
                Err(error) => {
                    unseen.push(Left::NotEntered(error));
                    continue;
                }
            };
            met.push(namespace.cookie());
            let place = || witness.path().display().to_string();
            match namespace.enter(remove) {
                Ok(Ok(Removed::All)) => {}
                Ok(Ok(kept)) => left.push(Left::NeededElsewhere(place(), kept)),
                Ok(Err(error)) => left.push(Left::KeptElsewhere(place(), error)),
                Err(error) => left.push(Left::NotInside(place(), error)),
            }
        }
        if used.hidden {
            unseen.push(Left::Hidden);
        }
        if steered.iter().any(|cookie| !met.contains(cookie)) {
            left.append(&mut unseen);
        }
        left
    }
}
