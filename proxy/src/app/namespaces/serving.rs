//! The listeners in a namespace, and what the kernel is told of it.

use std::{io, net::SocketAddr, sync::Arc};

use socket2::SockRef;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{Means, receiving::Receiving};
use crate::{
    app::{
        heartbeat::Heartbeat,
        listeners::{is_family_missing, outward},
    },
    config::Limits,
    kernel::{
        Family, KernelError,
        changes::Changes,
        local::{Facts, Whose},
    },
    netns::Namespace,
    outbound,
    socket::Turn,
};

/// Why a namespace has no listeners.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("entering it: {0}; it takes CAP_SYS_ADMIN in the user namespace that owns it")]
    Enter(#[source] io::Error),
    #[error("its loopback interface is down; `ip link set lo up` in it")]
    LoopbackDown,
    #[error("binding a listener on its loopback address: {0}")]
    Listen(#[source] io::Error),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// A namespace that has listeners: one of each family, since each costs a task that has its turn
/// several times a second. It carries as many connections of a container as there are local ports.
pub(super) struct Serving {
    /// With their cookies.
    pub(super) listeners: Vec<(SocketAddr, u64)>,
    /// Families that the namespace did not have when it was looked at last.
    missing: Vec<Family>,
    stop: watch::Sender<bool>,
    loops: JoinSet<()>,
    turns: Vec<Turn>,
    /// None if they cannot be watched, so that they are looked at each time.
    changes: Option<Changes>,
    stale: bool,
    /// For connections that come to applications there, once a rule wants it.
    pub(super) receiving: Option<Box<Receiving>>,
}

/// What was made and found inside a namespace.
struct Inside {
    listeners: Vec<(Family, TcpListener)>,
    facts: Facts,
}

impl Serving {
    pub(super) fn begin(means: Means<'_>, namespace: &Namespace) -> Result<Self, ServeError> {
        // Before anything is looked at, so that no change is missed.
        let changes = namespace.enter(Changes::watch).map_err(ServeError::Enter)?;
        let mut serving = Self {
            listeners: Vec::new(),
            missing: vec![Family::V4, Family::V6],
            stop: watch::channel(false).0,
            loops: JoinSet::new(),
            turns: Vec::new(),
            changes: changes.ok(),
            stale: true,
            receiving: None,
        };
        match serving.look(means, namespace) {
            Ok(()) => Ok(serving),
            Err(error) => {
                serving.close(means.heartbeat);
                // What was registered of it goes with its listeners; the kernel's other notes do not.
                let _ = means.redirector.forget_namespace(namespace.cookie());
                Err(error)
            }
        }
    }

    /// Looks again if anything has changed in the namespace.
    pub(super) fn follow(
        &mut self,
        means: Means<'_>,
        namespace: &Namespace,
    ) -> Result<(), ServeError> {
        self.stale |= self.changes.as_mut().is_none_or(Changes::any);
        self.stale |= means.receives && self.receiving.is_none();
        if self.stale {
            self.look(means, namespace)?;
        }
        Ok(())
    }

    fn look(&mut self, means: Means<'_>, namespace: &Namespace) -> Result<(), ServeError> {
        let inside = namespace.enter(|| Inside::make(&self.missing, &means.data.limits));
        let inside = inside.map_err(ServeError::Enter)??;
        if !inside.facts.has_loopback || (self.listeners.is_empty() && inside.listeners.is_empty())
        {
            return Err(ServeError::LoopbackDown);
        }
        let netns = namespace.cookie();
        for (family, listener) in inside.listeners {
            let redirector = means.redirector;
            redirector.register_in(netns, &listener, family)?;
            self.missing.retain(|missing| *missing != family);
            let cookie = SockRef::from(&listener).cookie();
            let known = listener.local_addr().and_then(|at| Ok((at, cookie?)));
            self.listeners.push(known.map_err(ServeError::Listen)?);
            let turn = means.heartbeat.turn();
            self.turns.push(turn.clone());
            self.loops.spawn(outbound::accept(
                Arc::clone(means.data),
                namespace.clone(),
                listener,
                self.stop.subscribe(),
                turn,
            ));
        }
        // Connections are redirected from here on.
        means.redirector.serve_namespace(namespace, &inside.facts)?;
        if means.receives {
            let fresh = || Box::new(Receiving::new(means, namespace));
            let mut receiving = self.receiving.take().unwrap_or_else(fresh);
            let looked = receiving.look(
                means,
                &inside.facts,
                (&self.stop, &mut self.loops),
                &mut self.turns,
            );
            self.receiving = Some(receiving);
            looked?;
        }
        self.stale = false;
        Ok(())
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(at, _)| *at).collect()
    }

    /// Ends the accept loops, which first take what is queued.
    pub(super) fn close(&mut self, heartbeat: &Heartbeat) -> JoinSet<()> {
        for turn in &self.turns {
            heartbeat.forget(turn);
        }
        self.stop.send_replace(true);
        std::mem::take(&mut self.loops)
    }
}

impl Inside {
    /// Listeners of those of `families` that the namespace has.
    fn make(families: &[Family], limits: &Limits) -> Result<Self, ServeError> {
        let mut listeners = Vec::new();
        for family in families {
            match outward(*family, limits) {
                Ok(listener) => listeners.push((*family, listener)),
                Err(error) if is_family_missing(&error) => {}
                Err(error) => return Err(ServeError::Listen(error)),
            }
        }
        Ok(Self {
            listeners,
            facts: Facts::of_this_thread(Whose::Others)?,
        })
    }
}
