//! The configuration file as it is written: names and shapes only.
//!
//! Values stay texts and numbers here, so that [`super::validate`] can say what is wrong with
//! each of them in one go. The JSON schema that `sidetrack check --schema` prints comes from
//! these types, and the shape check in `shape.rs` holds a file's keys and value types against it.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::{
    JsonSchema, Schema, schema_for,
    transform::{RecursiveTransform, Transform},
};
use serde::Deserialize;

mod http;
mod listener;

pub use http::{Answer, Change, ListenerHttp, Redirect, Rewrite, Route, Wanted};
pub use listener::{Bind, Health, Listener, ListenerTls, Upstream};

/// A Sidetrack configuration, version 1.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["version"]))]
pub struct File {
    /// Version of this format; 1.
    #[schemars(required, extend("const" = 1))]
    pub version: Option<i64>,
    /// How the daemon itself runs.
    pub daemon: Daemon,
    /// Bounds on what peers and applications can use up.
    pub limits: Limits,
    /// The access record and the daemon's own log.
    pub log: Log,
    /// Own identities by name.
    pub identity: BTreeMap<String, Identity>,
    /// Trust bundles by SPIFFE trust domain.
    pub trust: BTreeMap<String, Trust>,
    /// Selections of workloads by name.
    pub select: BTreeMap<String, Select>,
    /// What is intercepted at all.
    pub intercept: Intercept,
    /// Proxies of others, to which rules with action redirect send connections, by name.
    pub proxy: BTreeMap<String, Proxy>,
    /// Where listeners send connections, and rules with action gateway, by name.
    pub upstream: BTreeMap<String, Upstream>,
    /// Rules for connections that applications of this host make.
    pub outbound: Vec<Outbound>,
    /// Rules for connections that come to applications of this host.
    pub inbound: Vec<Inbound>,
    /// What comes without being intercepted.
    pub listener: Vec<Listener>,
    /// This host as a gateway, through which peers connect to others.
    pub gateway: Option<Gateway>,
    /// Rules for what peers may reach through this gateway; the first that fits decides.
    pub egress: Vec<Egress>,
}

/// `[daemon]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// Name of this instance: 1 to 32 of a-z, 0-9 and '-'. Default "default".
    pub instance: Option<String>,
    /// How long live connections may go on after SIGTERM. Default "30s".
    pub drain: Option<String>,
    /// Folder of the control socket, absolute. Default "/run/sidetrack". For who is not root
    /// it is "sidetrack" in $XDG_RUNTIME_DIR, else "/tmp/sidetrack-UID".
    pub runtime_dir: Option<PathBuf>,
    /// A daemon that has not moved for this long, because it hangs or is stopped, is taken for dead:
    /// each connection then gets its rule's fail mode. 500ms to 1min. Default "3s".
    pub heartbeat: Option<String>,
    /// Worker threads of the data path. Default: one for each CPU.
    pub workers: Option<i64>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections relayed at once. Default 16384.
    pub connections: Option<i64>,
    /// TLS handshakes in flight at once. Default 512.
    pub handshakes: Option<i64>,
    /// How long an upstream may take to answer a connect. Default "5s".
    pub connect_timeout: Option<String>,
    /// How long a TLS handshake may take. Default "10s".
    pub handshake_timeout: Option<String>,
    /// Close a connection on which no byte moved for this long. Default "off".
    pub idle: Option<String>,
    /// TCP keepalive: idle time before the first probe. Default "60s".
    pub keepalive: Option<String>,
    /// TCP_USER_TIMEOUT: how long sent data may stay unacknowledged. Default "15m".
    pub user_timeout: Option<String>,
    /// Idle tunnels kept for each peer. Default 64.
    pub idle_tunnels_per_peer: Option<i64>,
    /// Idle tunnels kept in all. Default 1024.
    pub idle_tunnels: Option<i64>,
    /// How long an idle tunnel is kept. Default "60s".
    pub tunnel_idle: Option<String>,
    /// A tunnel older than this serves no further connection. Default "1h".
    pub tunnel_age: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Form of the access record. Default "json".
    #[schemars(extend("enum" = ["json", "text", "off"]))]
    pub access: Option<String>,
    /// File of the access record. Default: standard output.
    pub access_file: Option<PathBuf>,
    /// Form of the daemon's own log on standard error. Default "text".
    #[schemars(extend("enum" = ["json", "text", "off"]))]
    pub format: Option<String>,
    /// Filter of the daemon's own log, as in tracing's EnvFilter. Default "info".
    pub filter: Option<String>,
}

/// `[identity.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["certificate", "private_key"]))]
pub struct Identity {
    /// PEM, leaf first. Relative to this file's folder.
    #[schemars(required)]
    pub certificate: Option<PathBuf>,
    /// PEM: PKCS#8, SEC1 or PKCS#1. Relative to this file's folder.
    #[schemars(required)]
    pub private_key: Option<PathBuf>,
}

/// `[trust."DOMAIN"]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["bundle"]))]
pub struct Trust {
    /// PEM, one or more CA certificates. Relative to this file's folder.
    #[schemars(required)]
    pub bundle: Option<PathBuf>,
    /// PEM, certificate revocation lists. Default: no revocation checking.
    pub crl: Option<PathBuf>,
}

/// `[select.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["include"]))]
pub struct Select {
    /// Any of these selects.
    #[schemars(required)]
    pub include: Vec<Selector>,
    /// Any of these excludes, and wins.
    pub exclude: Vec<Selector>,
}

/// One selector: all that it names must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// Path below the cgroup2 root, with everything below it; in it `*`, `?` and `[…]` within a
    /// level, and `**` for any number of levels.
    pub cgroup: Option<String>,
    /// A systemd unit of the system manager, in any slice: "web.service", "web@*.service".
    pub unit: Option<String>,
    /// A container of a runtime of root, by its name, a pattern of that, or its id from 12 digits
    /// on.
    pub container: Option<String>,
    /// User id of the connecting task.
    pub uid: Option<i64>,
    /// User name, resolved when the file is read.
    pub user: Option<String>,
    /// Group id of the connecting task: that of its primary group.
    pub gid: Option<i64>,
    /// Group name, resolved when the file is read.
    pub group: Option<String>,
    /// Executable that the connecting task runs, by its whole path; a symbolic link stands for where
    /// it leads too.
    pub exe: Option<String>,
    /// Network namespaces, any of them: "host" (the daemon's own), a path ("/run/netns/blue"),
    /// "pid:1234", "cgroup:/pods/*" (those of the processes in it and below).
    pub netns: Option<Vec<String>>,
}

/// `[intercept]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Intercept {
    /// Network namespaces: "host", "selected" (each from which somebody connects for whom a rule
    /// is), a path ("/run/netns/blue"), "pid:1234", "cgroup:/pods/*" (those of the processes in it and
    /// below). Default ["host", "selected"].
    pub netns: Option<Vec<String>>,
    /// Cgroup at which programs are attached. Default "/".
    pub cgroup: Option<String>,
    /// Destinations that are never touched, whatever rules say. Loopback, link-local, multicast,
    /// broadcast and unspecified are left alone without it, unless a rule's prefix lies in them.
    pub exclude_to: Option<Vec<String>>,
    /// Listener sockets for each address family. Default 4.
    pub listeners: Option<i64>,
    /// Connections past the rules that are there when the daemon starts: "leave" (default) or
    /// "close".
    pub existing: Option<String>,
}

/// `[proxy.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listen"]))]
pub struct Proxy {
    /// Where it listens: a loopback or unspecified address and a port, at most one for each
    /// family. `[::]:PORT` alone is for both.
    #[schemars(required)]
    pub listen: Vec<String>,
    /// The user who makes its listening sockets, beside root, whose are always taken. Default:
    /// root's alone.
    pub user: Option<String>,
    /// The cgroup that it must be in or below, like "/pods/*/sidecar". With it, a proxy in another
    /// network namespace that is served is taken too, for the connections that are made there.
    pub cgroup: Option<String>,
}

/// `[[outbound]]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "action"]))]
pub struct Outbound {
    /// Name in records and messages; unique among the outbound rules.
    #[schemars(required)]
    pub name: Option<String>,
    /// Name of a selection. Default: everything under intercept.cgroup.
    pub select: Option<String>,
    /// Destination prefixes; the longest of all rules decides. Default: every destination.
    pub to: Vec<String>,
    /// Destination ports and ranges of ports. Default: every port.
    pub ports: Vec<Port>,
    /// "any" is TCP and UDP. Default: "any" for deny and ignore, else "tcp".
    #[schemars(extend("enum" = ["tcp", "udp", "any"]))]
    pub protocol: Option<String>,
    /// What happens.
    #[schemars(required, extend("enum" = ["mtls", "gateway", "passthrough", "redirect", "deny", "ignore"]))]
    pub action: Option<String>,
    /// For mtls: framed and reused, or plain TLS. Default "tunnel".
    #[schemars(extend("enum" = ["tunnel", "tls"]))]
    pub wire: Option<String>,
    /// For mtls and gateway: name of the own identity.
    pub identity: Option<String>,
    /// For mtls: SPIFFE IDs, DNS names, "ip-san" or "any".
    pub expect: Option<Vec<String>>,
    /// For mtls: server name to send. Default: the first exact DNS name of expect, else none.
    pub server_name: Option<String>,
    /// For mtls with wire "tls": false has a full handshake for each connection; without it
    /// sessions are resumed.
    pub resumption: Option<bool>,
    /// For mtls: key exchange groups to offer, the preferred one first.
    /// Default ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"].
    pub groups: Option<Vec<String>>,
    /// For gateway: name of the upstream that connects in this host's place.
    pub gateway: Option<String>,
    /// For redirect: name of the proxy.
    pub proxy: Option<String>,
    /// For mtls, gateway and redirect: what becomes of UDP to the same destinations and ports, QUIC
    /// with it. Default: "deny" for mtls and gateway, for redirect what other rules say.
    #[schemars(extend("enum" = ["deny", "pass"]))]
    pub udp: Option<String>,
    /// For deny: what connect() fails with, and sending. Default "EPERM".
    #[schemars(extend("enum" = ["EPERM", "EACCES", "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT"]))]
    pub errno: Option<String>,
    /// For passthrough and redirect, when the proxy is not there; mtls and gateway always block.
    /// Default "block".
    #[schemars(extend("enum" = ["block", "pass"]))]
    pub fail: Option<String>,
}

/// `[[inbound]]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "ports", "accept"]))]
pub struct Inbound {
    /// Name in records and messages; unique among the inbound rules.
    #[schemars(required)]
    pub name: Option<String>,
    /// Name of the selection that the listening application must be in. Default: any.
    pub select: Option<String>,
    /// Ports and ranges of ports; no port is in two rules.
    #[schemars(required)]
    pub ports: Vec<Port>,
    /// Name of the own identity; not needed if accept is ["plain"].
    pub identity: Option<String>,
    /// Subset of "tunnel", "mtls" and "plain".
    #[schemars(required)]
    pub accept: Option<Vec<String>>,
    /// Who may connect: SPIFFE IDs, DNS names, "ip-san" or "any".
    pub allow: Option<Vec<String>>,
    /// Prefixes that may connect in plain text although accept does not list "plain".
    pub plain_from: Option<Vec<String>>,
    /// Source prefixes that an identity may claim for connections that it forwards.
    pub may_claim: Option<BTreeMap<String, Vec<String>>>,
    /// How the application learns the client's address. Default "api".
    #[schemars(extend("enum" = ["api", "proxy-protocol"]))]
    pub source: Option<String>,
    /// How long to wait for a first byte where plain text is accepted beside TLS, or "off".
    /// Default "200ms".
    pub detect: Option<String>,
    /// Where the ports are governed: "host" (default), the daemon's own network namespace, or
    /// "served", each other one that is served too.
    #[schemars(extend("enum" = ["host", "served"]))]
    pub netns: Option<String>,
}

/// `[gateway]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["listen", "identity"]))]
pub struct Gateway {
    /// Address and port where peers connect, in tunnels only. `[::]:PORT` is for both families.
    #[schemars(required)]
    pub listen: Option<String>,
    /// Name of the own identity.
    #[schemars(required)]
    pub identity: Option<String>,
}

/// `[[egress]]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["identity", "action"]))]
pub struct Egress {
    /// Name in records and messages. Default: "egress-" and its place in the file, from 1.
    pub name: Option<String>,
    /// Who connects: SPIFFE IDs, DNS names, "ip-san" or "any".
    #[schemars(required)]
    pub identity: Vec<String>,
    /// Destination prefixes. Default: every destination but this host and what is near it:
    /// loopback, link-local, multicast.
    pub to: Vec<String>,
    /// Destination ports and ranges of ports. Default: every port.
    pub ports: Vec<Port>,
    /// What happens.
    #[schemars(required, extend("enum" = ["allow", "deny"]))]
    pub action: Option<String>,
    /// With "allow": source prefixes that an identity may claim, as from behind NAT, and that then
    /// stand in the record. Default: the address that the gateway sees.
    pub may_claim: Option<BTreeMap<String, Vec<String>>>,
}

/// A port (`"8080"` or `8080`) or a range of ports (`"9000-9100"`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Port {
    /// `8080`
    Number(i64),
    /// `"8080"` or `"9000-9100"`
    Text(String),
}

/// The JSON schema of a configuration file (draft 2020-12).
pub fn schema() -> Schema {
    let mut schema = schema_for!(File);
    // That a key may be absent is all that these say; true defaults are in the descriptions.
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("default");
    })
    .transform(&mut schema);
    schema
}
