//! Connections that come to applications in another namespace: as in the daemon's own, with
//! listeners, a route for the hop and an sk_lookup of its own.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use socket2::SockRef;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{Means, serving::ServeError};
use crate::{
    app::listeners::{inward, is_family_missing},
    config::Limits,
    inbound::{self, inward::Inward, owners::selected_cgroups},
    kernel::{
        Family, KernelError,
        listening::{Mend, Suspects},
        local::Facts,
        steering::Steering,
    },
    netns::Namespace,
    socket::Turn,
};

/// What one namespace has for it.
pub(super) struct Receiving {
    inward: Arc<Inward>,
    suspects: Suspects,
    /// Absent where it could not be attached.
    pub(super) steering: Option<Arc<Steering>>,
    /// With their cookies.
    pub(super) listeners: Vec<(SocketAddr, u64)>,
    missing: Vec<Family>,
}

impl Receiving {
    /// Nothing is there yet.
    pub(super) fn new(means: Means<'_>, namespace: &Namespace) -> Self {
        Self {
            inward: Arc::new(means.data.inward.elsewhere(namespace.clone())),
            suspects: Suspects::default(),
            steering: None,
            listeners: Vec::new(),
            missing: vec![Family::V4, Family::V6],
        }
    }

    /// Makes what is not there: listeners first, and last what steers to them. `facts` are those
    /// that the kernel was told of.
    pub(super) fn look(
        &mut self,
        means: Means<'_>,
        facts: &Facts,
        (stop, loops): (&watch::Sender<bool>, &mut JoinSet<()>),
        turns: &mut Vec<Turn>,
    ) -> Result<(), ServeError> {
        let own = Arc::new(facts.own.clone());
        self.inward.own_addresses.store(own);
        let namespace = self.inward.namespace.clone();
        let netns = namespace.cookie();
        let made = namespace.enter(|| {
            if let Some(hop) = means.hop {
                hop.ensure_elsewhere()?;
            }
            listeners(&self.missing, &means.data.limits)
        });
        for (family, listener) in made.map_err(ServeError::Enter)?? {
            means
                .redirector
                .register_inbound_in(netns, &listener, family)?;
            self.missing.retain(|missing| *missing != family);
            let cookie = SockRef::from(&listener).cookie();
            let known = listener.local_addr().and_then(|at| Ok((at, cookie?)));
            self.listeners.push(known.map_err(ServeError::Listen)?);
            let turn = means.heartbeat.turn();
            turns.push(turn.clone());
            let (data, inward) = (Arc::clone(means.data), Arc::clone(&self.inward));
            loops.spawn(inbound::accept(
                data,
                inward,
                listener,
                stop.subscribe(),
                turn,
            ));
        }
        if self.steering.is_none() {
            let governed = means.governed();
            // Before and after, as in the daemon's own.
            self.count(means, governed.as_ref(), true)?;
            self.steering = Some(Arc::new(means.redirector.steer_in(&namespace)?));
            self.count(means, governed.as_ref(), false)?;
            self.count(means, governed.as_ref(), false)?;
        }
        Ok(())
    }

    /// Looks who listens.
    pub(super) fn look_at_listeners(
        &mut self,
        means: Means<'_>,
        governed: Option<&HashSet<u64>>,
    ) -> Result<(), KernelError> {
        self.count(means, governed, false)
    }

    fn count(
        &mut self,
        means: Means<'_>,
        governed: Option<&HashSet<u64>>,
        at_once: bool,
    ) -> Result<(), KernelError> {
        let netns = self.inward.namespace.cookie();
        let sockets = self.inward.owners.sockets()?;
        let mend = match at_once {
            true => Mend::AtOnce,
            false => Mend::SeenTwice(&mut self.suspects),
        };
        means
            .redirector
            .reconcile_listening_in(netns, &sockets, governed, mend)?;
        let policy = means.data.policy.load();
        let selected = selected_cgroups(&policy.config);
        self.inward.owners.update(&sockets, selected);
        Ok(())
    }
}

/// Listeners of those of `families` that this thread's namespace has.
fn listeners(
    families: &[Family],
    limits: &Limits,
) -> Result<Vec<(Family, TcpListener)>, ServeError> {
    let mut made = Vec::new();
    for family in families {
        match inward(*family, limits) {
            Ok(listener) => made.push((*family, listener)),
            Err(error) if is_family_missing(&error) => {}
            Err(error) => return Err(ServeError::Listen(error)),
        }
    }
    Ok(made)
}
