//! Why a connection was refused or ended early: one reason each, the same word in the access
//! record, the metrics and the log.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal, $likely:literal;)*) => {
        /// The one reason of a refusal. Its label is stable: people alert on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, for tables and counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in records and metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }

            /// The likely cause and what to do, for a person.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $likely,)*
                }
            }
        }
    };
}

reasons! {
    /// An accepted socket carries no original destination.
    NoOriginalDestination = "no-original-destination",
        "something connected to the proxy's own port; only redirected connections may arrive there";
    /// The connection was to port 0 of the loopback address.
    PortZero = "port-zero", "an application connected to port 0 of the loopback address, where nobody can listen and the daemon answers its own canary alone";
    /// A `deny` rule decided.
    DeniedByRule = "denied-by-rule", "an outbound rule with action = \"deny\" names this destination";
    /// The kernel found no live listener for a redirected connection.
    NoListener = "no-listener", "the proxy was stopping or not yet ready";
    /// The application is in a network namespace that this daemon does not serve.
    OtherNamespace = "other-namespace", "with \"selected\" in intercept.netns the namespace gets listeners now and the next connection is redirected, unless `status` says why not; else name it there, or narrow intercept.cgroup or select";
    /// Nobody is in the connection's network namespace any more, and it did not end by itself.
    NamespaceGone = "namespace-gone", "the application's container ended, and the other side did not close the connection within daemon.drain";
    /// The application's socket is bound to a network interface.
    DeviceBound = "device-bound", "the kernel takes a socket off its device for tasks with CAP_NET_RAW alone: grant that to the application, or exclude the destination";
    /// The kernel's own connection, which is never redirected, met a rule that is no plain one.
    KernelClient = "kernel-client", "NFS, SMB, Ceph and the like connect from within the kernel and are never redirected: exclude their servers by exclude_to or action = \"ignore\"";
    /// The socket was connected past the redirect, and closed on request.
    NotCovered = "not-covered", "sidetrack close, or intercept.existing = \"close\": the application connects again and is redirected";
    /// The application's cgroup was new, and its rule redirects to somebody else's proxy.
    CgroupNew = "cgroup-new", "connect again: the first connections of a cgroup come here until it is known, and cannot be handed on to another proxy";
    /// The application's cgroup was new to the kernel's table, and gone before it was looked at.
    CgroupGone = "cgroup-gone", "the application ended as soon as it had connected, and its cgroup was removed: which rule is for it is not known";
    /// The application's cgroup is of a container whose name decides and is not known.
    ContainerUnknown = "container-unknown", "a selection names containers, and no file of Docker, Podman, CRI-O or containerd tells the name of this one: exclude its cgroup from that selection, or select by id";
    /// Rules ask for the executable of a connection of before them, and its process cannot be asked.
    ExecutableGone = "executable-gone", "connect again: a reload has brought rules for an executable, and what ran the process that made the connection cannot be found out any more";
    /// No inbound rule names the port that the connection came to.
    NoInboundRule = "no-inbound-rule", "the rule was removed by a reload while the connection arrived";
    /// The listening application is not in the rule's selection.
    NotSelected = "not-selected", "another process listens on a port that an inbound rule reserves for its selection";
    /// The connection limit is reached.
    TooManyConnections = "too-many-connections", "raise limits.connections, or look for connections that never end";
    /// The limit on handshakes in flight is reached.
    TooManyHandshakes = "too-many-handshakes", "raise limits.handshakes, or look for clients that never finish theirs";
    /// The daemon is draining.
    Draining = "draining", "the daemon is stopping and takes no new connections";
    /// No endpoint of the listener's upstream is up.
    UpstreamDown = "upstream-down", "the log says when each endpoint of the upstream went down, and why; it is checked until it answers";
    /// The upstream answered a check with an error.
    Unhealthy = "unhealthy", "the server behind the upstream is starting, overloaded or broken; its own log says why";
    /// The upstream ended a request without an answer.
    UpstreamClosed = "upstream-closed", "the server closed the connection or refused the request before it had answered; its own log says why";
    /// The upstream answered with what is no HTTP, or not of the version that it is spoken to in.
    UpstreamProtocol = "upstream-protocol", "the upstream's address is not that of a server of HTTP, of HTTPS where the upstream has TLS, or not of the version in its http key";
    /// The upstream did not answer in time.
    ConnectTimeout = "connect-timeout", "the host is down or a firewall drops packets to it";
    /// The upstream refused the connection.
    ConnectRefused = "connect-refused", "nothing listens there, or the peer's daemon is not running";
    /// No route to the upstream.
    Unreachable = "unreachable", "no route to the host; compare `ip route get`";
    /// No local port was free.
    PortsExhausted = "ports-exhausted", "every port of net.ipv4.ip_local_port_range is in use to that destination; widen it, or use more destinations";
    /// Connecting failed otherwise.
    ConnectFailed = "connect-failed", "see the record's detail";
    /// The TLS handshake took too long.
    HandshakeTimeout = "handshake-timeout", "the peer accepted TCP but does not speak TLS, or is overloaded";
    /// The peer closed or broke off during the handshake.
    HandshakeFailed = "handshake-failed", "the peer refused the handshake; its own log says why";
    /// The peer spoke plain text on a port that does not accept it.
    Plaintext = "plaintext", "the client is not redirected, or its rule says passthrough; add \"plain\" to accept, or redirect it";
    /// A client that has to begin with a PROXY header did not, or with a wrong one.
    ProxyHeader = "proxy-header", "the listener's proxy_from names the client, which then must send a PROXY header, version 1 or 2: configure it there, or take its address out";
    /// The peer offers no common protocol version.
    TlsVersion = "tls-version", "the peer does not speak TLS 1.3; a listener takes TLS 1.2 too if its tls.min_version says so";
    /// The client asks for a server name that a listener does not have.
    UnknownServerName = "unknown-server-name", "the listener's servers name no upstream for it: add the name, or an upstream for all others";
    /// TLS of a kind that the rule does not accept.
    ProtocolNotAccepted = "protocol-not-accepted", "the rule's accept does not list this kind of connection";
    /// The peer sent no certificate.
    NoCertificate = "no-certificate", "the peer has no client certificate configured";
    /// The certificate is signed by nobody that we trust.
    UnknownIssuer = "unknown-issuer", "the peer's certificate is not signed by the bundle of its trust domain";
    /// The certificate has expired.
    CertificateExpired = "certificate-expired", "renew the peer's certificate, or compare the clocks";
    /// The certificate is not valid yet.
    CertificateNotYetValid = "certificate-not-yet-valid", "compare the clocks of both hosts";
    /// The certificate was revoked.
    CertificateRevoked = "certificate-revoked", "the bundle's revocation list names this certificate";
    /// Revocation is configured, but nothing valid says whether the certificate was revoked.
    RevocationUnknown = "revocation-unknown", "the crl of the trust bundle has expired or lacks the issuer's list; renew it";
    /// The certificate cannot be used.
    BadCertificate = "bad-certificate", "the certificate is malformed, or of a kind that is not for TLS peers";
    /// The certificate's trust domain is not configured.
    UnknownTrustDomain = "unknown-trust-domain", "add [trust.\"…\"] for the peer's trust domain";
    /// The peer is not whom the rule expects.
    WrongIdentity = "wrong-identity", "the peer's identity is not among the rule's expect";
    /// The peer is not allowed to connect here.
    NotAllowed = "not-allowed", "the peer's identity is not among the rule's allow";
    /// The peer's OPEN named a destination that is not this host's end of the tunnel.
    WrongDestination = "wrong-destination", "the peer asked for another address than it connected to";
    /// No egress rule of this gateway lets the peer through to the destination.
    EgressDenied = "egress-denied", "an [[egress]] rule with action = \"allow\" that names the peer's identity and the destination; this host itself, loopback, link-local and multicast addresses are never reached through a gateway";
    /// The peer claimed a source that was not granted to it.
    SourceNotGranted = "source-not-granted", "grant the prefix in the rule's may_claim if the peer may speak for it";
    /// What came is no HTTP, or not well-formed.
    HttpProtocol = "http-protocol", "the client does not speak HTTP, not this version, or sent more than the listener's http.max_head allows";
    /// A request that could be taken for another than routes take it for, or that no proxy like this one carries out.
    BadRequest = "bad-request", "the client is broken, or somebody tries to get past the routes: a request needs one Host, and a path without dot segments, doubled or encoded slashes";
    /// No route of the listener fits the request.
    NoRoute = "no-route", "add a [[listener.route]] that fits host, path, method and headers; the last one may have none of them";
    /// The body of a request is longer than its route allows.
    BodyTooLarge = "body-too-large", "raise max_body of the route if the client may send this much";
    /// The head of a request did not come in time.
    HeadTimeout = "head-timeout", "the client is very slow or wants to hold connections open; http.head_timeout says how long it may take";
    /// A body did not move.
    Stalled = "stalled", "the client stopped sending its request or reading its answer, for longer than http.stall";
    /// The upstream took too long to answer.
    UpstreamTimeout = "upstream-timeout", "the server behind the route is slow or hangs; raise timeout of the route if it may take this long";
    /// The upstream broke off its answer.
    UpstreamCut = "upstream-cut", "the server behind the route died or closed its connection within an answer; its own log says why";
    /// The peer broke the tunnel's format.
    TunnelProtocol = "tunnel-protocol", "the peer's version is not compatible, or its stream is damaged";
    /// The tunnel broke while the connection was on it.
    TunnelLost = "tunnel-lost", "the peer's daemon or the network between died";
    /// The peer could not reach the application for this connection.
    PeerRefused = "peer-refused", "the peer's record of the same connection id says why";
    /// A side of the connection was reset.
    Reset = "reset", "one of the applications closed with a reset";
    /// No byte moved for the configured idle time.
    IdleTimeout = "idle-timeout", "limits.idle is set; the connection was idle for longer";
    /// The drain deadline passed.
    DrainDeadline = "drain-deadline", "the connection outlived daemon.drain";
    /// The certificate or policy changed under the connection.
    PolicyChanged = "policy-changed", "a reload refused what was allowed before";
    /// Relaying failed for a reason of this host.
    Internal = "internal", "see the record's detail and the daemon's log";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// A refusal: the reason, and what exactly was seen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The one reason.
    pub reason: Reason,
    /// What was seen: the identity that came, the address that did not answer.
    pub detail: String,
}

impl Refusal {
    /// A refusal with what was seen.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
