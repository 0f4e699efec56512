//! Upstreams: where listeners, and outbound rules with `gateway`, send connections.

use std::{fmt, net::SocketAddr, time::Duration};

use super::{HttpVersion, Wire};
use crate::identity::Expected;

/// `[upstream.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where it is. Never empty.
    pub addresses: Vec<Address>,
    /// How connections to it are protected; `None` is plain text.
    pub tls: Option<UpstreamTls>,
    /// Which of its endpoints gets the next connection.
    pub balance: Balance,
    /// How it is found out which of them answer.
    pub health: Health,
    /// How many more endpoints are tried for a connection or request of which none has seen a byte.
    pub retries: u32,
    /// How HTTP is spoken to it.
    pub http: HttpVersion,
    /// The PROXY header that precedes the bytes; `None` sends none.
    pub send_proxy: Option<ProxyHeader>,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An address and a port.
    Socket(SocketAddr),
    /// A host name, whose addresses are asked for again from time to time, and a port.
    Name {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

/// How connections to an upstream are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Framed and reused, or plain TLS.
    pub wire: Wire,
    /// Name of the own identity; `None` shows no certificate.
    pub identity: Option<String>,
    /// Whom each endpoint must prove to be: any of these. Never empty.
    pub expect: Vec<Expected>,
    /// Server name to send (SNI); `None` sends the first exact DNS name of `expect`, else the host
    /// name that is dialled, else none.
    pub server_name: Option<String>,
}

/// `balance` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after another.
    RoundRobin,
    /// The one with the fewest connections, or requests, under way.
    LeastConnections,
    /// Of two that are drawn, the one with fewer.
    TwoChoices,
}

/// `health` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What an active check does; `None` checks only endpoints that failed, until they answer.
    pub check: Option<Check>,
    /// Time between two checks of an endpoint.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// So many failures in a row, of checks or connections, make an endpoint down.
    pub down: u32,
    /// So many checks in a row that succeed make it up again.
    pub up: u32,
}

/// What an active check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Connects, with TLS if the upstream has it.
    Connect,
    /// Asks for this path, and expects a status from 200 to 399.
    Http {
        /// The path.
        path: String,
        /// The host; `None` is the server name, else the name that was resolved, else the address.
        host: Option<String>,
    },
}

/// `send_proxy` of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The line of version 1.
    V1,
    /// Version 2.
    V2,
    /// Version 2 with what TLS told of the client.
    V2Tls,
}

impl Upstream {
    /// Whom each endpoint must prove to be; nobody in plain text.
    pub fn expect(&self) -> &[Expected] {
        self.tls.as_ref().map_or(&[], |tls| &tls.expect)
    }
}

impl Address {
    /// The address, if it is one and no name.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(at) => Some(*at),
            Self::Name { .. } => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(at) => at.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}
