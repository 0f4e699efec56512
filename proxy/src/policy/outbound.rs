//! Permits for connections that applications of this host make.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use sidetrack_abi::{Redirected, flow::FLAG_BOUND_SOURCE};

use super::PolicyError;
use crate::{
    addr::OriginalDst,
    config::{Mtls, Wire},
    identity::Expected,
    tls::{client::Originator, material::Material},
};

/// How a permitted connection goes on.
#[derive(Clone)]
pub enum Route {
    /// In mutual TLS, to the same address and port or to a gateway.
    Mtls(Arc<MtlsRoute>),
    /// As it is.
    Passthrough,
}

/// Where the TLS connections of a rule go.
pub enum Towards {
    /// Where the application wanted to go.
    Destination,
    /// To a gateway, which connects to that.
    Gateway(Gateways),
}

/// The addresses of a gateway: one is used for as long as it answers, then the next.
pub struct Gateways {
    addresses: Vec<SocketAddr>,
    answering: AtomicUsize,
}

impl Gateways {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            answering: AtomicUsize::new(0),
        }
    }

    /// Those that can be reached from `source`, which has an address family, beginning with the one
    /// that answered last.
    pub fn in_turn(&self, source: Option<IpAddr>) -> impl Iterator<Item = SocketAddr> {
        let (before, from) = self
            .addresses
            .split_at_checked(self.answering.load(Ordering::Relaxed))
            .unwrap_or_default();
        let reachable =
            move |at: &&SocketAddr| source.is_none_or(|source| source.is_ipv4() == at.is_ipv4());
        from.iter().chain(before).filter(reachable).copied()
    }

    /// Whether this is one of them.
    pub fn has(&self, at: SocketAddr) -> bool {
        self.addresses.contains(&at)
    }

    /// This one answers.
    pub fn answers(&self, at: SocketAddr) {
        if let Some(index) = self.addresses.iter().position(|address| *address == at) {
            self.answering.store(index, Ordering::Relaxed);
        }
    }
}

/// What an mTLS rule needs for each connection.
pub struct MtlsRoute {
    /// Where they go.
    pub towards: Towards,
    /// Makes its TLS connections.
    pub originator: Originator,
    /// Framed or plain.
    pub wire: Wire,
    /// Our own identity, for records and for the pool.
    pub own: Arc<str>,
    /// When our own certificate expires.
    pub own_expires: SystemTime,
    /// Whom it expects.
    pub expect: Arc<[Expected]>,
    /// Generation of policy and trust: tunnels of another are not used.
    pub generation: u64,
}

impl MtlsRoute {
    pub(super) fn build(
        rule: &str,
        mtls: &Mtls,
        towards: Towards,
        material: &Material,
        generation: u32,
    ) -> Result<Self, PolicyError> {
        let own =
            material
                .identities
                .get(&mtls.identity)
                .ok_or_else(|| PolicyError::NoIdentity {
                    rule: rule.to_owned(),
                    identity: mtls.identity.clone(),
                })?;
        let expect = mtls.expect.clone().into();
        let originator = Originator::new(
            own,
            &material.trust,
            Arc::clone(&expect),
            mtls.wire,
            mtls.server_name.clone(),
            &mtls.handshakes,
        )
        .map_err(|source| PolicyError::Outbound {
            rule: rule.to_owned(),
            source,
        })?;
        Ok(Self {
            towards,
            originator,
            wire: mtls.wire,
            own: Arc::clone(&own.label),
            own_expires: own.not_after,
            expect,
            generation: u64::from(generation),
        })
    }
}

/// A connection that policy lets go on. Only [`super::Policy`] makes one.
pub struct OutboundPermit {
    /// Where the application wanted to go.
    pub destination: OriginalDst,
    /// The rule that decided; none if no rule is for it, which the kernel did not know.
    pub rule: Option<Arc<str>>,
    /// How.
    pub route: Route,
    /// SO_MARK of the application's socket, which holds for ours.
    pub mark: u32,
    /// Type of service or traffic class of the application's socket, which holds for ours.
    pub tos: u32,
    /// Index of the device that the application's socket was bound to, as ours then is.
    pub device: Option<NonZeroU32>,
    bound: bool,
}

impl OutboundPermit {
    pub(super) fn new(redirected: &Redirected, rule: Option<Arc<str>>, route: Route) -> Self {
        Self {
            destination: OriginalDst::new(redirected.destination.into()),
            rule,
            route,
            mark: redirected.mark,
            tos: redirected.tos,
            device: NonZeroU32::new(redirected.device),
            bound: redirected.flags & FLAG_BOUND_SOURCE != 0,
        }
    }

    /// The source address that the application bound, seen at our end as `peer`; `None` if it
    /// left the choice to the kernel, as ours then does.
    pub fn bound_source(&self, peer: IpAddr) -> Option<IpAddr> {
        self.bound.then(|| peer.to_canonical())
    }
}
