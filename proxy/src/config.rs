//! The configuration as the program uses it: parsed types only, every value already checked.
//!
//! [`mod@file`] is the TOML as it is written, [`validate`] turns it into [`Config`] and reports every
//! error at once.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

use crate::identity::{Expected, SpiffeId, TrustDomain};

pub mod cgroup;
pub mod errors;
pub mod executable;
pub mod file;
mod handshakes;
pub mod http;
mod left_alone;
mod listener;
pub mod netns;
mod outbound;
mod passthrough;
mod ports;
mod protocol;
mod shape;
mod upstream;
pub mod validate;

pub use cgroup::CgroupPattern;
pub use errors::{ConfigError, ConfigErrors};
pub use executable::Executable;
pub use handshakes::{Group, Handshakes};
pub use http::{Http, HttpVersion};
pub use left_alone::left_alone;
pub use listener::{Listener, ListenerTls, Serves, TlsMode, TlsVersion};
pub use netns::{NetnsSelector, NetnsSource};
pub use outbound::{FailMode, Mtls, OutboundAction, OutboundRule, Wire};
pub use passthrough::Servers;
pub use ports::display_ports;
pub use protocol::{Datagrams, Protocol, Protocols};
pub use upstream::{Address, Balance, Check, Health, ProxyHeader, Upstream, UpstreamTls};

/// A whole configuration, valid by itself. Files that it names are not read yet.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the file was read: relative paths in it are relative to its folder.
    pub path: PathBuf,
    /// How the daemon itself runs.
    pub daemon: Daemon,
    /// Bounds on what peers and applications can use up.
    pub limits: Limits,
    /// The access record and the log.
    pub log: Log,
    /// Own identities by name.
    pub identities: BTreeMap<String, IdentityFiles>,
    /// Trust bundles by trust domain.
    pub trust: BTreeMap<TrustDomain, TrustFiles>,
    /// Selections of workloads by name.
    pub selects: BTreeMap<String, Select>,
    /// Whether anything is: not where the file has listeners and nothing that is about interception.
    pub intercepts: bool,
    /// What is intercepted at all.
    pub intercept: Intercept,
    /// Proxies of others by name.
    pub proxies: BTreeMap<String, Proxy>,
    /// Where listeners, and rules with `gateway`, send connections, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Rules for connections that applications of this host make.
    pub outbound: Vec<OutboundRule>,
    /// Rules for connections that come to applications of this host.
    pub inbound: Vec<InboundRule>,
    /// What comes without being intercepted.
    pub listeners: Vec<Listener>,
    /// This host as a gateway, if it is one.
    pub gateway: Option<Gateway>,
    /// What is allowed and works but deserves a word; printed by `check`.
    pub warnings: Vec<String>,
}

/// `[daemon]`
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Name of this instance: its sockets and cgroups bear it.
    pub instance: Instance,
    /// How long live connections may go on after SIGTERM.
    pub drain: Duration,
    /// Folder of the control socket.
    pub runtime_dir: PathBuf,
    /// A data path that has not moved for this long is taken for dead.
    pub heartbeat: Duration,
    /// Worker threads of the data path; `None` is one for each CPU.
    pub workers: Option<NonZeroU32>,
}

/// An instance's name: 1 to 32 of `a-z`, `0-9` and `-`, so that it can be part of any path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub(crate) String);

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections relayed at once, both directions together.
    pub connections: usize,
    /// TLS handshakes in flight at once.
    pub handshakes: usize,
    /// How long an upstream may take to answer a connect. With [`Self::handshake_timeout`], how
    /// long a peer may take to answer on a tunnel that was idle.
    pub connect_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Close a connection on which no byte moved for this long; `None` is never.
    pub idle: Option<Duration>,
    /// TCP keepalive on every socket of ours: idle time before the first probe.
    pub keepalive: Duration,
    /// TCP_USER_TIMEOUT on every socket of ours: how long sent data may stay unacknowledged.
    pub user_timeout: Duration,
    /// Idle tunnels kept for each peer.
    pub idle_tunnels_per_peer: usize,
    /// Idle tunnels kept in all.
    pub idle_tunnels: usize,
    /// How long an idle tunnel is kept.
    pub tunnel_idle: Duration,
    /// A tunnel older than this is not leased again.
    pub tunnel_age: Duration,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of the access record.
    pub access: RecordFormat,
    /// Where access records go; `None` is standard output.
    pub access_file: Option<PathBuf>,
    /// Form of the daemon's own log on standard error.
    pub format: RecordFormat,
    /// tracing filter of the daemon's own log.
    pub filter: String,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFormat {
    /// One JSON object a line.
    Json,
    /// key=value pairs, one line.
    Text,
    /// Nothing.
    Off,
}

/// `[identity.NAME]`
#[derive(Clone, Debug)]
pub struct IdentityFiles {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, SEC1 or PKCS#1.
    pub private_key: PathBuf,
}

/// `[trust."DOMAIN"]`
#[derive(Clone, Debug)]
pub struct TrustFiles {
    /// PEM, one or more CA certificates.
    pub bundle: PathBuf,
    /// PEM, certificate revocation lists; `None` is no revocation checking.
    pub crl: Option<PathBuf>,
}

/// `[select.NAME]`: a workload is selected by any `include` and by no `exclude`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Any of these selects.
    pub include: Vec<Selector>,
    /// Any of these excludes, and wins.
    pub exclude: Vec<Selector>,
}

/// All conditions of one selector must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Cgroups, with all below them. A systemd unit is resolved to where its cgroup can be by
    /// [`validate`].
    pub cgroup: Option<CgroupPattern>,
    /// The user id of the connecting task.
    pub uid: Option<u32>,
    /// The group id of the connecting task, that of its primary group.
    pub gid: Option<u32>,
    /// The executable that the connecting task runs.
    pub executable: Option<Executable>,
    /// The network namespace of the connecting socket, any of these; without any, each.
    pub netns: Vec<NetnsSelector>,
}

/// `[intercept]`
#[derive(Clone, Debug)]
pub struct Intercept {
    /// The cgroup (path below the cgroup2 root) at which programs are attached. What is not in
    /// it is neither redirected nor steered to. The root by default.
    pub cgroup: String,
    /// Where namespaces beside the daemon's own are found, in which connections are intercepted.
    pub netns: Vec<NetnsSource>,
    /// Destinations that are never touched, whatever rules say. Those of [`left_alone()`] are not
    /// among them: a rule can name them.
    pub exclude_to: Vec<IpNet>,
    /// Listener sockets for each address family: each carries as many connections as there are
    /// ephemeral ports (DESIGN decision 3).
    pub listeners: u32,
    /// What becomes of connections that were there before the daemon.
    pub existing: Existing,
}

/// Connections that are past the rules when a daemon starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They go on.
    Leave,
    /// They are closed, so that their applications connect again and are redirected.
    Close,
}

/// `[proxy.NAME]`: where it is listened for the connections of the host's applications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Port at 127.0.0.1.
    pub v4: Option<u16>,
    /// Port at ::1.
    pub v6: Option<u16>,
    /// Whose listening socket is taken, beside root's.
    pub user: u32,
    /// Where it must be. Without, it is taken in the daemon's own network namespace alone.
    pub cgroup: Option<CgroupPattern>,
}

impl Proxy {
    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let v4 = self.v4.map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let v6 = self.v6.map(|port| (Ipv6Addr::LOCALHOST, port).into());
        v4.into_iter().chain(v6)
    }
}

/// `[gateway]` with `[[egress]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where peers connect.
    pub listen: SocketAddr,
    /// Name of the own identity.
    pub identity: String,
    /// What they may reach: the first that fits decides, and none means no. Never empty.
    pub egress: Vec<EgressRule>,
}

/// `[[egress]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRule {
    /// Name in records and messages.
    pub name: String,
    /// Who connects: any of these. Never empty.
    pub identity: Vec<Expected>,
    /// Destination prefixes.
    pub to: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Whether it is let through.
    pub allow: bool,
    /// Source prefixes that an identity may claim, for the record.
    pub may_claim: BTreeMap<SpiffeId, Vec<IpNet>>,
}

/// `[[inbound]]`
#[derive(Clone, Debug)]
pub struct InboundRule {
    /// Name in records and messages; unique.
    pub name: String,
    /// Selection in which the listening application must be; `None` is any under
    /// `intercept.cgroup`.
    pub select: Option<String>,
    /// Ports that are steered; no port is in two rules.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Name of the own identity; `None` only if `accept` is `plain` alone.
    pub identity: Option<String>,
    /// What may come.
    pub accept: Accept,
    /// Identities that may connect; empty only if `accept` is `plain` alone.
    pub allow: Vec<Expected>,
    /// Prefixes that may connect in plain text although `accept` does not list it.
    pub plain_from: Vec<IpNet>,
    /// Source prefixes that an identity may claim for connections it forwards.
    pub may_claim: BTreeMap<SpiffeId, Vec<IpNet>>,
    /// How the application learns the client's address.
    pub source: SourceMode,
    /// How long to wait for a first byte where plain text is accepted beside TLS; `None` (`off`)
    /// does not wait: bytes that are already there decide, else it is plain text.
    pub detect: Option<Duration>,
    /// Whether its ports are governed in other network namespaces that are served, too.
    pub in_namespaces: bool,
}

/// `accept` of an inbound rule; at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept {
    /// TLS with our ALPN.
    pub tunnel: bool,
    /// TLS with a client certificate, of any other client.
    pub mtls: bool,
    /// Anything else, as it is.
    pub plain: bool,
}

/// `source` of an inbound rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMode {
    /// accept() and getpeername() show it; the packets come from this host.
    Api,
    /// A PROXY protocol v2 header precedes the bytes; the application must expect it.
    ProxyProtocol,
}

/// Where control sockets are if nobody says otherwise.
pub fn default_runtime_dir() -> PathBuf {
    let user = nix::unistd::geteuid();
    match std::env::var_os("XDG_RUNTIME_DIR") {
        _ if user.is_root() => "/run/sidetrack".into(),
        Some(folder) if Path::new(&folder).is_absolute() => Path::new(&folder).join("sidetrack"),
        _ => format!("/tmp/sidetrack-{user}").into(),
    }
}

impl Config {
    /// Whether an inbound rule holds in other network namespaces too.
    pub fn receives_in_namespaces(&self) -> bool {
        self.inbound.iter().any(|rule| rule.in_namespaces)
    }

    /// The same with executables as they are looked up now; `None` if that is as they were.
    pub fn with_executables_as_they_are(&self) -> Option<Self> {
        let mut found = self.clone();
        let mut changed = false;
        // Those of before were told when the file was read.
        found.warnings.clear();
        let selects = found.selects.values_mut();
        let lists = selects.flat_map(|select| [&mut select.include, &mut select.exclude]);
        for selector in lists.flatten() {
            let again = selector.executable.as_ref();
            if let Some(again) = again.and_then(Executable::looked_up_again) {
                found.warnings.extend(again.not_followed());
                selector.executable = Some(again);
                changed = true;
            }
        }
        changed.then_some(found)
    }

    /// The inbound rule that names `port`.
    pub fn inbound_for(&self, port: u16) -> Option<&InboundRule> {
        self.inbound
            .iter()
            .find(|rule| rule.ports.iter().any(|range| range.contains(&port)))
    }
}

impl InboundRule {
    /// Whether a client at `from` may speak plain text.
    pub fn accepts_plain_from(&self, from: SocketAddr) -> bool {
        self.accept.plain
            || self
                .plain_from
                .iter()
                .any(|prefix| prefix.contains(&from.ip().to_canonical()))
    }
}

impl Instance {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
