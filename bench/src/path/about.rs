//! What each kind of path is, in the words of the report.

use super::{Kind, Spec};

impl Kind {
    /// Whether `sidetrack` is on it, so that another build of it makes a difference.
    pub fn runs_sidetrack(self) -> bool {
        match self {
            Self::Unselected
            | Self::Passed
            | Self::Redirected
            | Self::Mtls
            | Self::MtlsTls
            | Self::MtlsFull
            | Self::RedirectRelay
            | Self::RedirectHaproxy => true,
            Self::Direct
            | Self::IptablesRelay
            | Self::IptablesPassed
            | Self::IptablesHaproxy
            | Self::TproxyHaproxy
            | Self::HaproxyPair
            | Self::HaproxyPairFull
            | Self::NginxPair
            | Self::StunnelPair => false,
        }
    }

    /// Whether rules decide on it, so that their number can.
    pub fn has_rules(self) -> bool {
        self.runs_sidetrack()
            || matches!(
                self,
                Self::IptablesRelay
                    | Self::IptablesPassed
                    | Self::IptablesHaproxy
                    | Self::TproxyHaproxy
            )
    }

    /// What it is, in a sentence for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Direct => {
                "Nothing between client and server: two network namespaces and one wire."
            }
            Self::Unselected => {
                "Sidetrack runs and its programs see the client's connects; no rule selects the client."
            }
            Self::Passed => {
                "A rule of Sidetrack is for the client and leaves its connections alone."
            }
            Self::Redirected => {
                "Sidetrack redirects the client's connections to its proxy, which carries them on in plain text."
            }
            Self::Mtls => {
                "Sidetrack at both ends: mutual TLS 1.3 in tunnels, which connections lease one after another."
            }
            Self::MtlsTls => {
                "Sidetrack at both ends with wire = \"tls\": a TLS connection for each, its session resumed."
            }
            Self::MtlsFull => {
                "Sidetrack at both ends with wire = \"tls\" and a full handshake for each connection."
            }
            Self::RedirectRelay => {
                "Sidetrack's programs redirect the client to the benchmark's plain relay."
            }
            Self::IptablesRelay => {
                "iptables REDIRECT sends the client to that very relay; the proxy's uid is exempted first."
            }
            Self::IptablesPassed => "iptables has rules, and none of them is for the client.",
            Self::RedirectHaproxy => {
                "Sidetrack's programs redirect the client to HAProxy, which carries plain text."
            }
            Self::IptablesHaproxy => {
                "iptables REDIRECT sends the client to that very HAProxy; the proxy's uid is exempted first."
            }
            Self::TproxyHaproxy => {
                "iptables TPROXY sends the client to HAProxy, on a router between the two."
            }
            Self::HaproxyPair => {
                "HAProxy at both ends, mutual TLS 1.3 between them, sessions resumed."
            }
            Self::HaproxyPairFull => {
                "HAProxy at both ends, a full handshake of mutual TLS 1.3 for each connection."
            }
            Self::NginxPair => {
                "NGINX (stream) at both ends, mutual TLS 1.3 between them, sessions resumed."
            }
            Self::StunnelPair => {
                "stunnel at both ends, mutual TLS 1.3 between them, sessions resumed."
            }
        }
    }
}

impl Spec {
    /// What tells it from the others in a case.
    pub fn label(&self) -> String {
        let build = self
            .build
            .as_ref()
            .map(|build| format!(" ({})", build.display()));
        format!("{}{}", self.kind, build.unwrap_or_default())
    }
}
