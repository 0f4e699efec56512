//! Listeners: what comes without being intercepted.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;

use super::{
    http::{Http, RouteAction},
    passthrough::Servers,
};
use crate::identity::Expected;

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Name in records and messages; unique among listeners.
    pub name: String,
    /// Where it listens; no address is in two listeners. Never empty.
    pub bind: Vec<SocketAddr>,
    /// How clients are met; `None` is plain text.
    pub tls: Option<ListenerTls>,
    /// Clients that begin with a PROXY header, which is believed; of nobody else is one taken.
    pub proxy_from: Vec<IpNet>,
    /// What is done with what comes.
    pub serves: Serves,
}

impl Listener {
    /// `tls.mode`, as the file writes it; `off` in plain text, `passed` where it is the upstream's.
    pub fn tls_mode(&self) -> &'static str {
        match (&self.tls, &self.serves) {
            (Some(tls), _) => tls.mode.label(),
            (None, Serves::TlsPassthrough(_)) => "passed",
            (None, Serves::Tcp { .. } | Serves::Http(_)) => "off",
        }
    }
}

/// `mode` of a listener, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Bytes, as they are.
    Tcp {
        /// Name of the upstream.
        upstream: String,
    },
    /// Requests.
    Http(Box<Http>),
    /// TLS of clients and upstreams, as it is.
    TlsPassthrough(Servers),
}

impl Serves {
    /// `mode`, as the file writes it.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http(_) => "http",
            Self::TlsPassthrough(_) => "tls-passthrough",
        }
    }

    /// The upstreams that it names.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let (one, routes) = match self {
            Self::Tcp { upstream } => (Some(upstream.as_str()), [].as_slice()),
            Self::Http(http) => (None, http.routes.as_slice()),
            Self::TlsPassthrough(servers) => (servers.other.as_deref(), [].as_slice()),
        };
        let named: &[_] = match self {
            Self::TlsPassthrough(servers) => &servers.named,
            Self::Tcp { .. } | Self::Http(_) => &[],
        };
        let routed = routes.iter().filter_map(|route| match &route.action {
            RouteAction::Forward(forward) => Some(forward.upstream.as_str()),
            RouteAction::Redirect(_) | RouteAction::Answer(_) => None,
        });
        let named = named.iter().map(|(_, upstream)| upstream.as_str());
        one.into_iter().chain(routed).chain(named)
    }
}

/// `tls` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Whether clients show certificates.
    pub mode: TlsMode,
    /// Names of own identities; the one with the server name that the client asks for is shown,
    /// else the first.
    pub identities: Vec<String>,
    /// A folder of further ones: `NAME.crt` with `NAME.key`.
    pub certificates: Option<PathBuf>,
    /// Who may connect with a certificate; empty only where none is asked for.
    pub allow: Vec<Expected>,
    /// The lowest version of TLS that clients may speak.
    pub min_version: TlsVersion,
}

/// `tls.min_version` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// `tls.mode` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Clients show no certificate.
    Simple,
    /// Who shows one is judged by it.
    Optional,
    /// Who shows none is refused.
    Mutual,
}

impl TlsMode {
    /// As the file writes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Optional => "optional",
            Self::Mutual => "mutual",
        }
    }
}
