//! What differs between the network namespaces in which connections come to applications.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;

use super::owners::Owners;
use crate::{
    kernel::routes::Routes,
    netns::Namespace,
    policy::{InboundRoute, Policy},
    refusal::{Reason, Refusal},
};

/// One of them.
pub struct Inward {
    /// Which.
    pub namespace: Namespace,
    /// Which processes listen in it.
    pub owners: Owners,
    /// Its own addresses.
    pub own_addresses: ArcSwap<Vec<IpAddr>>,
    /// Whose an address is, by the kernel's routes.
    routes: Routes,
}

impl Inward {
    /// One of which nothing has been seen.
    pub fn new(namespace: Namespace, owners: Owners) -> Self {
        Self {
            namespace,
            owners,
            own_addresses: ArcSwap::default(),
            routes: Routes::default(),
        }
    }

    /// Another one, of the same host.
    pub fn elsewhere(&self, namespace: Namespace) -> Self {
        let owners = self.owners.inside(namespace.clone());
        Self::new(namespace, owners)
    }

    /// Whether what is sent to `ip` from here stays here, as the kernel says.
    pub fn leads_here(&self, ip: IpAddr) -> bool {
        let asked = self.namespace.enter(|| self.routes.is_own(ip));
        asked.unwrap_or(true)
    }

    /// The rule for connections that come to `port` here.
    ///
    /// # Errors
    /// [`Reason::NoInboundRule`]
    pub fn route(&self, policy: &Policy, port: u16) -> Result<Arc<InboundRoute>, Refusal> {
        let route = policy.inbound(port)?;
        if self.namespace.other().is_some() && !route.in_namespaces {
            return Err(Refusal::new(
                Reason::NoInboundRule,
                format!(
                    "rule {} names port {port}, and holds in the daemon's own network namespace \
                     alone",
                    route.rule
                ),
            ));
        }
        Ok(route)
    }
}
