//! Live connections, judged again by the policy of a reload: what it would not let in is closed.
//!
//! By rules, names and the certificates that the peer showed: one that is revoked by now, or that no
//! bundle vouches for any more, takes its connections with it. One that has merely expired does not:
//! it holds until the end of its connection, and is met by the next handshake and the next lease.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sidetrack_abi::Redirected;

use super::{MtlsRoute, Policy, Route, Towards};
use crate::{
    addr::{ClientAddr, LocalAddr, OriginalDst, UpstreamAddr},
    refusal::{Reason, Refusal},
    tls::{Proven, server::Terminator},
};

/// How a connection of an application is carried.
#[derive(Clone, Debug)]
pub enum Carried {
    /// Policy has permitted it, and it is being made.
    Undecided,
    /// As it is.
    Plain,
    /// As it is, to this host itself.
    Home,
    /// In mutual TLS.
    Mtls {
        /// Whom the peer proved to be.
        peer: Arc<Proven>,
        /// Where the peer is.
        at: UpstreamAddr,
        /// Whether it is a gateway.
        through_gateway: bool,
    },
}

/// How a client of an application speaks.
#[derive(Clone, Copy, Debug)]
pub enum Client<'a> {
    /// Plain text, or the application's own TLS.
    Plain,
    /// Mutual TLS, without our framing.
    Mtls(&'a Proven),
}

/// One lease: what its OPEN said, and the tunnel that it came by.
#[derive(Clone, Copy, Debug)]
pub struct LiveLease<'a> {
    /// Who the tunnel's peer is.
    pub peer: &'a Proven,
    /// Our end of the tunnel.
    pub local: LocalAddr,
    /// The peer's end.
    pub from: SocketAddr,
    /// Whom the peer speaks for.
    pub source: ClientAddr,
    /// Where that wanted to go.
    pub destination: OriginalDst,
}

fn changed(refusal: impl Into<String>) -> Refusal {
    Refusal::new(Reason::PolicyChanged, refusal)
}

fn by_now(refusal: Refusal) -> Refusal {
    changed(format!("a reload refuses it, {refusal}"))
}

/// Of whom a rule wants to meet, the policy has changed; of a certificate, what it was found to be is
/// what people look for.
pub(super) fn of_peer(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::WrongIdentity | Reason::NotAllowed => by_now(refusal),
        certificate => Refusal::new(
            certificate,
            format!("a reload refuses it: {}", refusal.detail),
        ),
    }
}

impl Policy {
    /// Whether a connection of an application of this host may go on.
    ///
    /// It may where the rule for it says nothing or to leave it alone, and where it is carried
    /// as the rule says, or in mutual TLS where plain text would do. Plain text may not go on where
    /// the rule says mTLS.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`], or what is wrong with the peer's certificate by now.
    pub fn outbound_again(
        &self,
        redirected: &Redirected,
        (cgroup, netns): (&str, u64),
        carried: &Carried,
    ) -> Result<(), Refusal> {
        let permit = self.unclassified(redirected, cgroup, netns).outcome;
        match (permit.map_err(by_now)?.route, carried) {
            (Route::Passthrough, _) | (Route::Mtls(_), Carried::Undecided | Carried::Home) => {
                Ok(())
            }
            (Route::Mtls(_), Carried::Plain) => {
                Err(changed("a rule makes mTLS of it now, and it is plain"))
            }
            (
                Route::Mtls(route),
                Carried::Mtls {
                    peer,
                    at,
                    through_gateway,
                },
            ) => route.still_meets(peer, *at, *through_gateway),
        }
    }

    /// Whether a connection that came to `port` may go on. A port that no rule names any more is left
    /// alone.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`], or what is wrong with the peer's certificate by now.
    pub fn inbound_again(
        &self,
        port: u16,
        from: SocketAddr,
        client: Client<'_>,
    ) -> Result<(), Refusal> {
        let Ok(route) = self.inbound(port) else {
            return Ok(());
        };
        match client {
            Client::Plain if route.accepts_plain_from(from) => Ok(()),
            Client::Plain => Err(changed("plain text from there is not accepted any more")),
            Client::Mtls(peer) => still_welcome(route.mtls.as_ref(), peer, from),
        }
    }

    /// Whether a lease to an application of this host may go on.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`], or what is wrong with the peer's certificate by now.
    pub fn lease_again(
        &self,
        lease: &LiveLease<'_>,
        own_addresses: impl Fn(IpAddr) -> bool,
    ) -> Result<(), Refusal> {
        let Ok(route) = self.inbound(lease.local.port()) else {
            return Ok(());
        };
        let LiveLease { peer, from, .. } = *lease;
        still_welcome(route.tunnel.as_ref(), peer, from)?;
        let claim = (lease.source, lease.destination);
        route
            .permit_open(&peer.identity, (lease.local, from), claim, own_addresses)
            .map(|_| ())
            .map_err(by_now)
    }

    /// Whether a lease through this gateway may go on.
    ///
    /// # Errors
    /// [`Reason::PolicyChanged`], or what is wrong with the peer's certificate by now.
    pub fn egress_again(
        &self,
        lease: &LiveLease<'_>,
        own_addresses: impl Fn(IpAddr) -> bool,
    ) -> Result<(), Refusal> {
        let egress = self.egress().map_err(by_now)?;
        still_welcome(Some(&egress.terminator), lease.peer, lease.from)?;
        let claim = (lease.source, lease.destination);
        let judged = egress
            .rules
            .judge(&lease.peer.identity, lease.from, claim, own_addresses);
        judged.outcome.map(|_| ()).map_err(by_now)
    }
}

impl MtlsRoute {
    fn still_meets(
        &self,
        peer: &Proven,
        at: UpstreamAddr,
        through_gateway: bool,
    ) -> Result<(), Refusal> {
        match &self.towards {
            Towards::Destination if through_gateway => {
                return Err(changed("its rule does not name a gateway any more"));
            }
            Towards::Gateway(gateways) if !through_gateway || !gateways.has(at.get()) => {
                return Err(changed("its rule names another gateway"));
            }
            Towards::Destination | Towards::Gateway(_) => {}
        }
        self.originator.still_accepts(peer, at).map_err(of_peer)
    }
}

fn still_welcome(
    terminator: Option<&Terminator>,
    peer: &Proven,
    from: SocketAddr,
) -> Result<(), Refusal> {
    terminator
        .ok_or_else(|| changed("its kind of TLS is not accepted any more"))?
        .still_accepts(peer, from)
        .map_err(of_peer)
}
