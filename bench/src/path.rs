//! How the client's bytes get to the server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod direct;
mod iptables;
mod others;
mod ready;
mod relay;
mod sidetrack;

pub use ready::{Ready, available, set_up};

pub(crate) use ready::{Place, Proxies};

/// The kinds of paths.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing is between them.
    Direct,
    /// A daemon runs and its programs see the client, which no rule selects.
    Unselected,
    /// A rule is for the client, and leaves it alone.
    Passed,
    /// Through the daemon in plain text.
    Redirected,
    /// Through a daemon at each end, by tunnels of mutual TLS that are reused.
    Mtls,
    /// The same with `wire = "tls"`: a connection of mutual TLS for each, whose session is resumed.
    MtlsTls,
    /// The same without resumption: a full handshake for each.
    MtlsFull,
    /// The daemon's programs send the client to the benchmark's own plain relay.
    RedirectRelay,
    /// iptables REDIRECT sends it to that very relay.
    IptablesRelay,
    /// iptables has rules, of which none is for the client.
    IptablesPassed,
    /// The daemon's programs send the client to HAProxy, in plain text.
    RedirectHaproxy,
    /// iptables REDIRECT sends it to that HAProxy.
    IptablesHaproxy,
    /// iptables TPROXY sends it to HAProxy, on a router between them.
    TproxyHaproxy,
    /// HAProxy at each end, mutual TLS between them, sessions reused.
    HaproxyPair,
    /// The same without session reuse: a full handshake for each connection.
    HaproxyPairFull,
    /// NGINX (stream) at each end, mutual TLS between them, sessions reused.
    NginxPair,
    /// stunnel at each end, mutual TLS between them, sessions reused.
    StunnelPair,
}

/// One path to be set up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// How.
    pub kind: Kind,
    /// How many rules there are, the one that decides included; the others are for others. For
    /// kinds without rules, 1.
    pub rules: u32,
    /// Another build of `sidetrack` than the one that measures, to be compared with it.
    pub build: Option<PathBuf>,
}
