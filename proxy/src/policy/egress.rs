//! Permits for connections that peers make through this host as their gateway.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use ipnet::IpNet;

use super::{PolicyError, claim};
use crate::{
    addr::{ClientAddr, OriginalDst},
    config::{Gateway, Wire},
    identity::{Expected, PeerIdentity, SpiffeId},
    refusal::{Reason, Refusal},
    tls::{material::Material, server::Terminator},
};

/// `[gateway]` and its `[[egress]]` rules, ready for connections.
pub struct EgressPolicy {
    /// Terminates the tunnels of everybody whom some rule names.
    pub terminator: Terminator,
    /// Our own identity.
    pub own: Arc<str>,
    /// Who may reach what.
    pub rules: EgressRules,
}

/// `[[egress]]`, in the order of the file.
pub struct EgressRules(Vec<EgressRule>);

struct EgressRule {
    name: Arc<str>,
    identity: Vec<Expected>,
    to: Vec<IpNet>,
    ports: Vec<RangeInclusive<u16>>,
    allow: bool,
    may_claim: BTreeMap<SpiffeId, Vec<IpNet>>,
}

/// A connection that policy lets out. Only this module makes one.
#[derive(Clone, Debug)]
pub struct EgressPermit {
    client: ClientAddr,
    destination: OriginalDst,
}

impl EgressPermit {
    /// Whose it is.
    pub fn client(&self) -> ClientAddr {
        self.client
    }

    /// Where it goes.
    pub fn destination(&self) -> OriginalDst {
        self.destination
    }
}

/// What is said of one OPEN.
pub struct Judged {
    /// The rule that decided; none if no rule is for it.
    pub rule: Option<Arc<str>>,
    /// What it says.
    pub outcome: Result<EgressPermit, Refusal>,
}

impl EgressPolicy {
    pub(super) fn build(gateway: &Gateway, material: &Material) -> Result<Self, PolicyError> {
        let own =
            material
                .identities
                .get(&gateway.identity)
                .ok_or_else(|| PolicyError::NoIdentity {
                    rule: "[gateway]".into(),
                    identity: gateway.identity.clone(),
                })?;
        let allow: Arc<[Expected]> = gateway
            .egress
            .iter()
            .filter(|rule| rule.allow)
            .flat_map(|rule| rule.identity.iter().cloned())
            .collect();
        let terminator = Terminator::new(own, &material.trust, allow, Wire::Tunnel)
            .map_err(PolicyError::Gateway)?;
        let rules = gateway.egress.iter().map(|rule| EgressRule {
            name: rule.name.as_str().into(),
            identity: rule.identity.clone(),
            to: rule.to.clone(),
            ports: rule.ports.clone(),
            allow: rule.allow,
            may_claim: rule.may_claim.clone(),
        });
        Ok(Self {
            terminator,
            own: Arc::clone(&own.label),
            rules: EgressRules(rules.collect()),
        })
    }
}

impl EgressRules {
    /// Judges what a peer's OPEN asks for. `from` is the far end of its tunnel.
    ///
    /// This host itself and what only it can reach are not behind a gateway, whatever a rule says:
    /// services there trust that nobody from outside connects. `is_own` asks the kernel, and only for
    /// what a rule allows.
    pub fn judge(
        &self,
        peer: &PeerIdentity,
        from: SocketAddr,
        (source, destination): (ClientAddr, OriginalDst),
        is_own: impl Fn(IpAddr) -> bool,
    ) -> Judged {
        let to = destination.get();
        let stays = |ip: IpAddr| is_near(ip) || is_own(ip);
        let decides = |rule: &&EgressRule| {
            rule.to.iter().any(|prefix| prefix.contains(&to.ip()))
                && rule.ports.iter().any(|ports| ports.contains(&to.port()))
                && rule
                    .identity
                    .iter()
                    .any(|one| one.matches(peer, from.ip().to_canonical()))
        };
        let rule = self.0.iter().find(decides);
        let refused = |why: &str| {
            Err(Refusal::new(
                Reason::EgressDenied,
                format!("{peer} asked for {destination}: {why}"),
            ))
        };
        let outcome = match rule {
            None => refused("no rule is for it"),
            Some(rule) if !rule.allow => refused("the rule says deny"),
            Some(_)
                if to.port() == 0 || stays(to.ip()) || behind_nat64(to.ip()).is_some_and(stays) =>
            {
                refused("this is of the gateway's own host or link")
            }
            Some(rule) => {
                // The client is for the record alone: a claim that is not believed, as from behind
                // NAT without a grant, takes nothing from what the peer may reach.
                let granted = peer.spiffe.as_ref().and_then(|id| rule.may_claim.get(id));
                let granted = granted.map(Vec::as_slice).unwrap_or_default();
                let believed = claim::believe(peer, from, source, granted, is_own);
                Ok(EgressPermit {
                    client: believed.map_or_else(|_| ClientAddr::new(from), |()| source),
                    destination,
                })
            }
        };
        Judged {
            rule: rule.map(|rule| Arc::clone(&rule.name)),
            outcome,
        }
    }
}

/// Where clouds tell a host of its own keys, beside the link-local addresses: AWS, Google, Azure,
/// Alibaba.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// The IPv4 address that a NAT64 makes of one of 64:ff9b::/96 (RFC 6052 section 2.1).
fn behind_nat64(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = v6.octets();
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    }
}

/// Addresses that mean something else on this host than on the peer's.
fn is_near(ip: IpAddr) -> bool {
    if METADATA.contains(&ip) {
        return true;
    }
    let link = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == Ipv4Addr::BROADCAST || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    link || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified()
}

#[cfg(test)]
mod tests;
