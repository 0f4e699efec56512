//! How the client's bytes get to the server.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

mod about;
mod direct;
mod haproxy;
mod iptables;
mod nginx;
mod notes;
mod others;
mod pair;
mod ready;
mod relay;
mod sidetrack;
mod stunnel;

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

/// Words that name no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no path has this name; `sidetrack bench --list` shows all")]
pub struct UnknownKind;

impl Kind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 17] = [
        Self::Direct,
        Self::Unselected,
        Self::Passed,
        Self::Redirected,
        Self::Mtls,
        Self::MtlsTls,
        Self::MtlsFull,
        Self::RedirectRelay,
        Self::IptablesRelay,
        Self::IptablesPassed,
        Self::RedirectHaproxy,
        Self::IptablesHaproxy,
        Self::TproxyHaproxy,
        Self::HaproxyPair,
        Self::HaproxyPairFull,
        Self::NginxPair,
        Self::StunnelPair,
    ];

    /// What the JSON report and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Unselected => "unselected",
            Self::Passed => "passed",
            Self::Redirected => "redirected",
            Self::Mtls => "mtls",
            Self::MtlsTls => "mtls-tls",
            Self::MtlsFull => "mtls-full",
            Self::RedirectRelay => "redirect-relay",
            Self::IptablesRelay => "iptables-relay",
            Self::IptablesPassed => "iptables-passed",
            Self::RedirectHaproxy => "redirect-haproxy",
            Self::IptablesHaproxy => "iptables-haproxy",
            Self::TproxyHaproxy => "tproxy-haproxy",
            Self::HaproxyPair => "haproxy-pair",
            Self::HaproxyPairFull => "haproxy-pair-full",
            Self::NginxPair => "nginx-pair",
            Self::StunnelPair => "stunnel-pair",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or(UnknownKind)
    }
}

/// One path to be set up.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub struct Spec {
    /// How.
    pub kind: Kind,
    /// How many rules there are, the one that decides included; the others are for others. For
    /// kinds without rules, 1.
    pub rules: u32,
    /// Another build of `sidetrack` than the one that measures, to be compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_name_on_the_command_line_and_in_json() {
        for kind in Kind::ALL {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json.as_str(), Some(kind.name()));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!("nowhere".parse::<Kind>(), Err(UnknownKind));
    }
}
