//! Permits for connections that applications of this host make.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::SystemTime};

use sidetrack_abi::{Redirected, flow::FLAG_BOUND_SOURCE};

use crate::{addr::OriginalDst, config::Wire, identity::Expected, tls::client::Originator};

/// How a permitted connection goes on.
#[derive(Clone)]
pub enum Route {
    /// In mutual TLS to the same address and port.
    Mtls(Arc<MtlsRoute>),
    /// As it is.
    Passthrough,
}

/// What an mTLS rule needs for each connection.
pub struct MtlsRoute {
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
