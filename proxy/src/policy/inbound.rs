//! Permits for connections that come to applications of this host.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

use super::{PolicyError, claim};
use crate::{
    addr::{ClientAddr, LocalAddr, OriginalDst},
    config::{Config, InboundRule, Select, SourceMode, Wire},
    identity::{PeerIdentity, SpiffeId},
    refusal::{Reason, Refusal},
    tls::{material::Material, server::Terminator},
};

/// One inbound rule, ready for connections.
pub struct InboundRoute {
    /// Its name.
    pub rule: Arc<str>,
    /// Terminates tunnels, if they are accepted.
    pub tunnel: Option<Terminator>,
    /// Terminates other clients' TLS, if that is accepted.
    pub mtls: Option<Terminator>,
    /// Our own identity; absent where only plain text comes.
    pub own: Option<Arc<str>>,
    /// Wait for a first byte; see [`InboundRule::detect`].
    pub detect: Option<Duration>,
    /// How the application learns the client's address.
    pub source: SourceMode,
    /// The selection in which the listening application must be.
    pub select: Option<Select>,
    /// Whether it holds in other network namespaces than the daemon's.
    pub in_namespaces: bool,
    plain: bool,
    plain_from: Vec<IpNet>,
    may_claim: BTreeMap<SpiffeId, Vec<IpNet>>,
}

/// A connection that policy lets through to the application. Only this module makes one.
#[derive(Clone, Copy, Debug)]
pub struct InboundPermit {
    client: ClientAddr,
    destination: OriginalDst,
}

impl InboundPermit {
    /// Whom the application is shown as its client.
    pub fn client(&self) -> ClientAddr {
        self.client
    }

    /// The application's address.
    pub fn destination(&self) -> OriginalDst {
        self.destination
    }
}

impl InboundRoute {
    pub(super) fn build(
        config: &Config,
        rule: &InboundRule,
        material: &Material,
    ) -> Result<Self, PolicyError> {
        let own = match &rule.identity {
            None => None,
            Some(name) => {
                Some(
                    material
                        .identities
                        .get(name)
                        .ok_or_else(|| PolicyError::NoIdentity {
                            rule: rule.name.clone(),
                            identity: name.clone(),
                        })?,
                )
            }
        };
        let allow: Arc<[_]> = rule.allow.clone().into();
        let terminator = |accepted: bool, wire| match (accepted, own) {
            (true, Some(own)) => Terminator::new(own, &material.trust, Arc::clone(&allow), wire)
                .map(Some)
                .map_err(|source| PolicyError::Inbound {
                    rule: rule.name.clone(),
                    source,
                }),
            _ => Ok(None),
        };
        Ok(Self {
            rule: rule.name.as_str().into(),
            tunnel: terminator(rule.accept.tunnel, Wire::Tunnel)?,
            mtls: terminator(rule.accept.mtls, Wire::Tls)?,
            own: own.map(|own| Arc::clone(&own.label)),
            detect: rule.detect,
            source: rule.source,
            select: rule
                .select
                .as_ref()
                .and_then(|name| config.selects.get(name))
                .cloned(),
            in_namespaces: rule.in_namespaces,
            plain: rule.accept.plain,
            plain_from: rule.plain_from.clone(),
            may_claim: rule.may_claim.clone(),
        })
    }

    /// Whether a client at `from` may speak plain text.
    pub fn accepts_plain_from(&self, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        self.plain || self.plain_from.iter().any(|net| net.contains(&ip))
    }

    /// Whether TLS is terminated at all.
    pub fn terminates_tls(&self) -> bool {
        self.tunnel.is_some() || self.mtls.is_some()
    }

    /// Lets a client in that speaks plain text.
    ///
    /// # Errors
    /// [`Reason::Plaintext`]
    pub fn permit_plain(
        &self,
        from: SocketAddr,
        destination: OriginalDst,
    ) -> Result<InboundPermit, Refusal> {
        if !self.accepts_plain_from(from) {
            return Err(Refusal::new(
                Reason::Plaintext,
                format!("{from} spoke plain text"),
            ));
        }
        Ok(permit(ClientAddr::new(from), destination))
    }

    /// Lets a client in whom its [`Terminator`] has judged.
    pub fn permit_mtls(
        &self,
        _judged: &PeerIdentity,
        from: SocketAddr,
        destination: OriginalDst,
    ) -> InboundPermit {
        permit(ClientAddr::new(from), destination)
    }

    /// Judges what a peer's OPEN claims. `local` and `from` are the two ends of its tunnel.
    ///
    /// # Errors
    /// [`Reason::WrongDestination`] for anything but this end of the tunnel,
    /// [`Reason::SourceNotGranted`] for a source that is neither the tunnel's other end nor
    /// granted to the peer's identity.
    pub fn permit_open(
        &self,
        peer: &PeerIdentity,
        (local, from): (LocalAddr, SocketAddr),
        (source, destination): (ClientAddr, OriginalDst),
        own_addresses: impl Fn(IpAddr) -> bool,
    ) -> Result<InboundPermit, Refusal> {
        if destination.get() != local.get() {
            return Err(Refusal::new(
                Reason::WrongDestination,
                format!("{peer} asked for {destination} on a tunnel to {local}"),
            ));
        }
        let ip = source.ip();
        if ip.is_ipv6() && local.ip().is_ipv4() && self.source == SourceMode::Api {
            // accept() on an IPv4 socket could not show it, and would show this host instead.
            return Err(Refusal::new(
                Reason::SourceNotGranted,
                format!("{peer} claimed the IPv6 source {source} for an IPv4 application"),
            ));
        }
        let granted = peer.spiffe.as_ref().and_then(|id| self.may_claim.get(id));
        let granted = granted.map(Vec::as_slice).unwrap_or_default();
        claim::believe(peer, from, source, granted, own_addresses)?;
        Ok(permit(source, destination))
    }
}

fn permit(client: ClientAddr, destination: OriginalDst) -> InboundPermit {
    InboundPermit {
        client,
        destination,
    }
}

#[cfg(test)]
mod tests;
