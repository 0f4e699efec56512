//! The hop's routes, which any daemon leaves: applications may still answer by them.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    kernel::{
        KernelError,
        hop::{HopRoutes, Removed},
        pins::PinName,
        sys,
    },
    netns::{Namespace, NamespaceError, users},
};

/// How long applications may take to close connections that the daemon's end has cut, in all
/// namespaces together.
const ANSWERING: Duration = Duration::from_secs(1);

/// Why routes may be left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Left {
    /// Applications answer by them.
    #[error("{0}; detach again when they are closed")]
    Needed(Removed),
    /// As before, in another namespace.
    #[error("in the network namespace {0}: {1}; detach again when they are closed")]
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

/// Removes them in every namespace that somebody uses: a daemon makes them before it steers there,
/// and leaves them when it ceases to, so that no pin tells where they are. What nobody uses takes
/// its own along. `served` says that there was at least one other namespace.
pub(super) fn remove(instance: &PinName, served: bool) -> Vec<Left> {
    let hop = HopRoutes::of(instance);
    let until = Instant::now() + ANSWERING;
    let remove = || hop.remove(until.saturating_duration_since(Instant::now()));
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
    for (id, witness) in &used.found {
        if *id == own.id() {
            continue;
        }
        let namespace = match Namespace::open(witness.path(), &own) {
            Ok(namespace) => namespace,
            Err(error) => {
                // Where this process may not go, the daemon most likely could not either.
                if served && !error.is_absent() {
                    left.push(Left::NotEntered(error));
                }
                continue;
            }
        };
        let place = || witness.path().display().to_string();
        match namespace.enter(remove) {
            Ok(Ok(Removed::All)) => {}
            Ok(Ok(kept)) => left.push(Left::NeededElsewhere(place(), kept)),
            Ok(Err(error)) => left.push(Left::KeptElsewhere(place(), error)),
            Err(error) => left.push(Left::NotInside(place(), error)),
        }
    }
    if served && used.hidden {
        left.push(Left::Hidden);
    }
    left
}
