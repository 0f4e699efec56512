//! The state of a daemon, as the kernel sees it and not as we remember it.

use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering};

use serde::Serialize;

use super::ports::InboundPort;
use crate::{
    app::{App, NamespaceReport},
    kernel::{attach::Effective, maps::Occupancy, object, proxies::ProxyListener},
    record::tally,
};

/// Everything that `status` shows.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The instance.
    pub instance: String,
    /// Version of the binary.
    pub version: &'static str,
    /// The daemon's process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// `running` or `draining`.
    pub state: &'static str,
    /// Whether everything that is configured is effective.
    pub effective: bool,
    /// Generation of the rules.
    pub generation: u32,
    /// SHA-256 of the BPF object.
    pub object: &'static str,
    /// The attach point.
    pub cgroup: String,
    /// Programs, where they are and whether the kernel runs them.
    pub programs: Vec<Effective>,
    /// Rules by name: outbound, then inbound.
    pub rules: Rules,
    /// Ports of the inbound rules on which something listens.
    pub ports: Vec<InboundPort>,
    /// Proxies of others, to which `redirect` rules send connections.
    pub proxies: Vec<ProxyListener>,
    /// Network namespaces beside the daemon's own.
    pub namespaces: Vec<NamespaceReport>,
    /// Live connections.
    pub connections: usize,
    /// Idle tunnels by peer.
    pub tunnels: BTreeMap<SocketAddr, usize>,
    /// TLS handshakes that were begun, in both directions.
    pub handshakes: u64,
    /// Access records that could not be written.
    pub records_lost: u64,
    /// Connections in the making.
    pub maps: Occupancy,
    /// Connections that were refused or cut off, by reason: each has one record.
    pub refused: BTreeMap<&'static str, u64>,
    /// Counters of the programs.
    pub counters: BTreeMap<&'static str, u64>,
    /// What this version leaves alone and does not see.
    pub not_covered: &'static [&'static str],
}

/// Names of the rules in force.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// `[[outbound]]`
    pub outbound: Vec<String>,
    /// `[[inbound]]`
    pub inbound: Vec<String>,
}

/// Nothing is left out in silence.
const NOT_COVERED: &[&str] = &[
    "UDP and QUIC (counted as other_protocol where a rule names the destination)",
    "SCTP, raw and packet sockets",
    "sockets connected before the daemon started",
    "connections that come to applications in other network namespaces than the daemon's",
    "redirect to proxies of others from other network namespaces than the daemon's",
];

impl Status {
    /// Asks the kernel.
    pub fn of(app: &App) -> Self {
        let policy = app.data.policy.load();
        let programs = app.redirector.effective();
        let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect();
        Self {
            instance: policy.instance().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: app.since.elapsed().as_secs(),
            state: if app.data.live.is_draining() {
                "draining"
            } else {
                "running"
            },
            effective: !programs.is_empty() && programs.iter().all(|program| program.effective),
            generation: policy.generation,
            object: object::SHA256,
            cgroup: app.governed().display().to_string(),
            programs,
            rules: Rules {
                outbound: names(&mut policy.config.outbound.iter().map(|rule| &rule.name)),
                inbound: names(&mut policy.config.inbound.iter().map(|rule| &rule.name)),
            },
            ports: app.inbound_ports(),
            proxies: app.redirector.proxies(),
            namespaces: app.namespaces(),
            connections: app.data.live.count(),
            tunnels: app
                .data
                .pool
                .idle()
                .into_iter()
                .map(|idle| (idle.peer, idle.tunnels))
                .collect(),
            handshakes: app.data.handshakes.load(Ordering::Relaxed),
            records_lost: app.data.sink.lost(),
            maps: app.redirector.occupancy(),
            refused: tally::refused(),
            counters: app.redirector.counters().into_iter().collect(),
            not_covered: NOT_COVERED,
        }
    }
}
