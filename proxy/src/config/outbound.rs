//! Rules for connections that applications of this host make.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Handshakes, Protocols};
use crate::identity::Expected;

/// `[[outbound]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundRule {
    /// Name in records and messages; unique.
    pub name: String,
    /// Selection that it holds for; `None` is everything under `intercept.cgroup`.
    pub select: Option<String>,
    /// Destination prefixes; the longest of all rules decides.
    pub to: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Of which protocols.
    pub protocols: Protocols,
    /// What happens.
    pub action: OutboundAction,
    /// When there is no proxy to redirect to.
    pub fail: FailMode,
}

/// `action` of an outbound rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundAction {
    /// Mutual TLS to the same address and port.
    Mtls(Mtls),
    /// In a tunnel to a gateway, which connects to the destination.
    Gateway {
        /// Name of the upstream.
        upstream: String,
        /// Name of the own identity.
        identity: String,
    },
    /// Relayed in plain text, recorded.
    Passthrough,
    /// To the listener of somebody else's proxy, which asks for SO_ORIGINAL_DST.
    Redirect {
        /// Name of the proxy.
        proxy: String,
    },
    /// connect() fails with this errno.
    Deny {
        /// Positive errno value.
        errno: i32,
    },
    /// Not redirected and not recorded.
    Ignore,
}

/// How an mTLS rule connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mtls {
    /// Framed and reused, or plain TLS.
    pub wire: Wire,
    /// Name of the own identity.
    pub identity: String,
    /// Whom the peer must prove to be: any of these. Never empty.
    pub expect: Vec<Expected>,
    /// Server name to send (SNI); `None` sends the first exact DNS name of `expect`, else none.
    pub server_name: Option<String>,
    /// How its handshakes are made.
    pub handshakes: Handshakes,
}

/// `wire` of an mTLS rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// ALPN `sidetrack/1`: framed, leased to one connection at a time, reused.
    Tunnel,
    /// TLS 1.3 without framing, one connection each.
    Tls,
}

/// `fail` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    /// connect() fails.
    Block,
    /// The connection goes direct.
    Pass,
}
