//! Whether what is served is served, asked of the kernel.

use std::{collections::HashSet, io, net::SocketAddr, sync::Arc};

use super::{Means, Namespaces, known::State};
use crate::{
    canary::elsewhere::Elsewhere,
    kernel::{
        Redirector,
        effective::{Effective, Fault, Proof},
        sockdiag,
        steering::Steering,
    },
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
    steered: Steered,
}

/// Whether connections from outside are steered to those listeners.
enum Steered {
    /// No inbound rule wants it.
    Unasked,
    /// It could not be attached.
    Not,
    By(Arc<Steering>),
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

    /// What steers there, and what is not as it was meant.
    fn proof(&self, redirector: &Redirector) -> (Option<Effective>, Vec<Fault>) {
        let mut faults = self.lost();
        let (steering, unpinned) = match &self.steered {
            Steered::Unasked => return (None, faults),
            Steered::Not => (None, None),
            Steered::By(steering) => {
                let (found, unpinned) = redirector.proof_of_steering(steering, &self.namespace);
                (Some(found), unpinned)
            }
        };
        if !steering.as_ref().is_some_and(|found| found.effective) {
            faults.push(Fault::new(
                format!(
                    "inbound rules do not hold in the network namespace {}: sk_lookup is not \
                     attached there",
                    self.found
                ),
                "restart the daemon, which attaches it, and look into its log",
            ));
        }
        faults.extend(unpinned);
        (steering, faults)
    }

    fn lost(&self) -> Vec<Fault> {
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
        lost.collect()
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
                    steered: match &serving.receiving {
                        None => Steered::Unasked,
                        Some(receiving) => {
                            let steering = receiving.steering.clone();
                            steering.map_or(Steered::Not, Steered::By)
                        }
                    },
                }),
                State::Failing(_) => None,
            })
            .collect()
    }

    /// What steers in each, and listeners of ours that are not where they should be. What the
    /// kernel's tables say of them is compared with the tables.
    pub(in crate::app) fn prove(&self, means: Means<'_>, proof: &mut Proof) {
        let mut served = self.serving();
        served.sort_unstable_by_key(|one| one.namespace.cookie());
        let found: Vec<_> = served
            .into_iter()
            .map(|served| {
                let found = served.proof(means.redirector);
                (served, found)
            })
            .collect();
        // Whatever ended meanwhile is no fault.
        let now = self.serving();
        let still = found
            .into_iter()
            .filter(|(served, _)| now.iter().any(|now| served.is_still(now)))
            .map(|(_, found)| found);
        let (steering, faults): (Vec<_>, Vec<_>) = still.unzip();
        let mut faults = faults.concat();
        if means.receives {
            faults.extend(self.unreceived());
        }
        faults.extend(self.state.lock().judged.fault());
        proof.add_elsewhere(steering.into_iter().flatten().collect(), faults);
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
}
