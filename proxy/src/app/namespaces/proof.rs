//! Whether what is served is served, asked of the kernel.

use std::{collections::HashSet, io, net::SocketAddr};

use super::{Means, Namespaces, known::State, receiving::Receiving};
use crate::{
    canary::elsewhere::Elsewhere,
    kernel::{effective::Fault, sockdiag},
    netns::Namespace,
};

/// A namespace that has listeners of ours, as far as this process knows.
pub(in crate::app) struct Served {
    namespace: Namespace,
    found: String,
    /// With their cookies.
    listeners: Vec<(SocketAddr, u64)>,
    /// For connections from outside.
    inward: Vec<(SocketAddr, u64)>,
    /// Whether those are steered, where inbound rules hold there.
    is_steered: Option<bool>,
}

impl Served {
    /// Whether it is the one with this cookie.
    pub(in crate::app) fn is(&self, netns: u64) -> bool {
        self.namespace.cookie() == netns
    }

    /// Where a canary connects in it.
    pub(in crate::app) fn elsewhere(&self) -> Elsewhere {
        let mut listeners = self.listeners.iter();
        Elsewhere {
            namespace: self.namespace.clone(),
            found: self.found.clone(),
            v4: listeners.clone().any(|(at, _)| at.is_ipv4()),
            v6: listeners.any(|(at, _)| at.is_ipv6()),
        }
    }

    /// Whether both are the same listeners of the same namespace.
    fn is_still(&self, now: &Self) -> bool {
        self.is(now.namespace.cookie())
            && self.listeners == now.listeners
            && self.inward == now.inward
    }

    fn faults(&self) -> Vec<Fault> {
        let there = match self.there() {
            Ok(there) => there,
            Err(error) => {
                return vec![Fault::new(
                    format!(
                        "looking for our listeners in the network namespace {}: {error}",
                        self.found
                    ),
                    "it takes CAP_SYS_ADMIN in the user namespace that owns it",
                )];
            }
        };
        let unsteered = (self.is_steered == Some(false)).then(|| {
            Fault::new(
                format!(
                    "inbound rules do not hold in the network namespace {}: sk_lookup is not \
                     attached there",
                    self.found
                ),
                "restart the daemon, which attaches it, and look into its log",
            )
        });
        let all = self.listeners.iter().chain(&self.inward);
        let lost = all.filter(|one| !there.contains(one));
        let lost = lost.map(|(at, _)| {
            Fault::new(
                format!(
                    "our listener {at} in the network namespace {} is gone: connections there are \
                     refused",
                    self.found
                ),
                "restart the daemon, which binds it again, and look for who closed it, as `ss -K` \
                 does",
            )
        });
        lost.chain(unsteered).collect()
    }

    /// All that listen there.
    fn there(&self) -> io::Result<HashSet<(SocketAddr, u64)>> {
        let all = self.namespace.enter(sockdiag::listening)??;
        Ok(all.iter().map(|one| (one.at, one.cookie)).collect())
    }
}

impl Namespaces {
    /// Those that have listeners.
    pub(in crate::app) fn serving(&self) -> Vec<Served> {
        let state = self.state.lock();
        let known = state.known.values();
        known
            .filter_map(|known| match &known.state {
                State::Serving(serving) => Some(Served {
                    namespace: known.namespace.clone(),
                    found: known.found.clone(),
                    listeners: serving.listeners.clone(),
                    inward: serving
                        .receiving
                        .as_ref()
                        .map(|receiving| receiving.listeners.clone())
                        .unwrap_or_default(),
                    is_steered: serving.receiving.as_deref().map(Receiving::is_effective),
                }),
                State::Failing(_) => None,
            })
            .collect()
    }

    /// Listeners of ours that are not where they should be. What the kernel's tables say of them
    /// is compared with the tables.
    pub(in crate::app) fn faults(&self, means: Means<'_>) -> Vec<Fault> {
        let mut faults = self.lost();
        if means.receives {
            faults.extend(self.unreceived());
        }
        faults
    }

    /// Namespaces in which inbound rules should hold and could not be put in force.
    fn unreceived(&self) -> Vec<Fault> {
        let state = self.state.lock();
        let failing = state.known.values().filter_map(|known| match &known.state {
            State::Serving(_) => None,
            State::Failing(failing) => Some((known, failing)),
        });
        failing
            .map(|(known, failing)| {
                Fault::new(
                    format!(
                        "inbound rules are not in force in the network namespace {}: {}",
                        known.found, failing.why
                    ),
                    "put that right; it is tried again each few seconds",
                )
            })
            .collect()
    }

    fn lost(&self) -> Vec<Fault> {
        let found: Vec<(Served, Vec<Fault>)> = self
            .serving()
            .into_iter()
            .map(|served| {
                let faults = served.faults();
                (served, faults)
            })
            .filter(|(_, faults)| !faults.is_empty())
            .collect();
        if found.is_empty() {
            return Vec::new();
        }
        // Whatever ended meanwhile is no fault.
        let now = self.serving();
        found
            .into_iter()
            .filter(|(served, _)| now.iter().any(|now| served.is_still(now)))
            .flat_map(|(_, faults)| faults)
            .collect()
    }
}
