//! `[[listener]]` and `[upstream.NAME]` as they are written.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::http::{ListenerHttp, Route};

/// `[[listener]]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "bind", "mode"]))]
pub struct Listener {
    /// Name in records and messages; unique among the listeners.
    #[schemars(required)]
    pub name: Option<String>,
    /// Address and port, or several. `[::]:PORT` is for both families.
    #[schemars(required)]
    pub bind: Option<Bind>,
    /// What it is about: "tcp" (bytes, as they are), "http" (requests) or "tls-passthrough" (the
    /// clients' TLS as it is, by server name).
    #[schemars(required, extend("enum" = ["tcp", "http", "tls-passthrough"]))]
    pub mode: Option<String>,
    /// Name of the upstream that connections go to. In mode "http": where requests go that no route
    /// takes; in mode "tls-passthrough": connections that ask for no name of `servers`.
    pub upstream: Option<String>,
    /// In mode "tls-passthrough": names of upstreams by server name. "*.example.org" is every name
    /// below example.org.
    pub servers: Option<BTreeMap<String, String>>,
    /// In mode "http": what holds for all requests.
    pub http: ListenerHttp,
    /// In mode "http": what is done with which requests.
    pub route: Vec<Route>,
    /// How clients are met. Without it: plain text.
    pub tls: Option<ListenerTls>,
    /// Prefixes of clients that begin with a PROXY header, version 1 or 2, which is believed.
    pub proxy_from: Option<Vec<String>>,
}

impl Listener {
    /// The upstreams that it names.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let routed = self.route.iter().map(|route| &route.upstream);
        let routed = routed.chain([&self.upstream]).filter_map(Option::as_deref);
        let named = self.servers.iter().flat_map(BTreeMap::values);
        routed.chain(named.map(String::as_str))
    }
}

/// Where a listener is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Bind {
    /// `"0.0.0.0:8081"`
    One(String),
    /// `["0.0.0.0:8081", "[2001:db8::9]:8081"]`
    Several(Vec<String>),
}

/// `tls` of a listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["mode"]))]
pub struct ListenerTls {
    /// "simple": clients show no certificate. "optional": who shows one is judged by it. "mutual":
    /// who shows none is refused.
    #[schemars(required, extend("enum" = ["simple", "optional", "mutual"]))]
    pub mode: Option<String>,
    /// Names of own identities: the one with the server name that the client asks for is shown,
    /// else the first.
    pub identities: Vec<String>,
    /// Folder of further ones, NAME.crt with NAME.key. Relative to this file's folder.
    pub certificates: Option<PathBuf>,
    /// Who may connect with a certificate: SPIFFE IDs, DNS names, "ip-san" or "any".
    pub allow: Option<Vec<String>>,
    /// The lowest version of TLS that clients may speak: "1.2" or "1.3". Without it "1.3".
    #[schemars(extend("enum" = ["1.2", "1.3"]))]
    pub min_version: Option<String>,
}

/// `[upstream.NAME]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["addresses"]))]
pub struct Upstream {
    /// Addresses or host names, with ports. A gateway's are addresses: one is used for as long as
    /// it answers, then the next.
    #[schemars(required)]
    pub addresses: Vec<String>,
    /// "plain", "tls" or "tunnel", which only gateways take. Without it: "tunnel" if an outbound rule names it as
    /// its gateway, else "tls" if `expect` is there, else "plain".
    #[schemars(extend("enum" = ["plain", "tls", "tunnel"]))]
    pub wire: Option<String>,
    /// Name of the own identity that is shown. Without it: none; a gateway's is that of the rule.
    pub identity: Option<String>,
    /// Whom each of them must prove to be: SPIFFE IDs, DNS names, "ip-san" or "any".
    pub expect: Option<Vec<String>>,
    /// Server name to send (SNI). Without it: the first DNS name of `expect`, else the host name in
    /// `addresses`, else none.
    pub server_name: Option<String>,
    /// Which address gets the next connection. Without it "two-choices": of two that are drawn the one
    /// with fewer connections.
    #[schemars(extend("enum" = ["round-robin", "least-connections", "two-choices"]))]
    pub balance: Option<String>,
    /// How many more addresses are tried for a connection of which none has seen a byte. Without it 2.
    pub retries: Option<i64>,
    /// Which HTTP it is spoken to in by listeners of mode "http": "1.1" or "2". Without it what ALPN
    /// settles on in TLS, and 1.1 in plain text.
    #[schemars(extend("enum" = ["1.1", "2"]))]
    pub http: Option<String>,
    /// A PROXY header in front of the bytes: "v1", "v2", or "v2-tls", with what TLS told of the
    /// client.
    #[schemars(extend("enum" = ["v1", "v2", "v2-tls"]))]
    pub send_proxy: Option<String>,
    /// How it is found out which addresses answer.
    pub health: Health,
}

/// `health` of an upstream. An address that fails is checked until it answers again in any case.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Checks those that are up too: "connect" or "http".
    #[schemars(extend("enum" = ["connect", "http"]))]
    pub check: Option<String>,
    /// What check = "http" asks for. Without it "/".
    pub path: Option<String>,
    /// The host that it asks for. Without it: `server_name`, else the name in `addresses`, else the
    /// address.
    pub host: Option<String>,
    /// Time between two checks. Without it "5s".
    pub interval: Option<String>,
    /// How long one may take. Without it "2s".
    pub timeout: Option<String>,
    /// So many failures in a row, of checks or connections, make an address down. Without it 1.
    pub down: Option<i64>,
    /// So many checks in a row that succeed make it up again. Without it 1.
    pub up: Option<i64>,
}
