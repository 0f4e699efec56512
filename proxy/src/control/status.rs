//! The state of a daemon, as the kernel sees it and not as we remember it.

use std::{collections::BTreeMap, net::SocketAddr, sync::atomic::Ordering};

use serde::Serialize;

use super::{past, ports::InboundPort};
use crate::{
    app::{App, NamespaceReport, ServingReport},
    canary::Sung,
    kernel::{
        effective::{Effective, Fault, Hook},
        maps::Occupancy,
        object,
        proxies::ProxyListener,
    },
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
    /// Everything that the kernel runs at the same hooks, there and at the cgroups that rules
    /// name, in its order.
    pub hooks: Vec<Hook>,
    /// A connection through the redirect, made for this answer; absent in a drain, when none is
    /// taken.
    pub canary: Option<Sung>,
    /// What is not as it was meant; none if it is effective.
    pub faults: Vec<Fault>,
    /// Rules by name: outbound, then inbound.
    pub rules: Rules,
    /// Ports of the inbound rules on which something listens in the daemon's own network namespace.
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
    /// Listeners, and what is behind them.
    #[serde(flatten)]
    pub serving: ServingReport,
    /// What goes past the redirect.
    #[serde(flatten)]
    pub past: past::Past,
}

/// Names of the rules in force.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// `[[outbound]]`
    pub outbound: Vec<String>,
    /// `[[inbound]]`
    pub inbound: Vec<String>,
}

impl Status {
    /// Asks the kernel.
    pub fn of(app: &App) -> Self {
        let policy = app.data.policy.load();
        // Before the canary, which is no connection of an application.
        let connections = app.data.live.count();
        let draining = app.data.live.is_draining();
        let proof = app.proof();
        let canary = (!draining).then(|| app.send_canary());
        let mut faults = proof.faults;
        faults.extend(canary.iter().flat_map(Sung::faults));
        let attached = !proof.programs.is_empty();
        let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect();
        Self {
            instance: policy.instance().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: app.since.elapsed().as_secs(),
            state: if draining { "draining" } else { "running" },
            effective: attached
                && proof.programs.iter().all(|program| program.effective)
                && faults.is_empty(),
            generation: policy.generation,
            object: object::SHA256,
            cgroup: app.governed().display().to_string(),
            programs: proof.programs,
            hooks: proof.hooks,
            canary,
            faults,
            rules: Rules {
                outbound: names(&mut policy.config.outbound.iter().map(|rule| &rule.name)),
                inbound: names(&mut policy.config.inbound.iter().map(|rule| &rule.name)),
            },
            ports: app.inbound_ports(),
            proxies: app.redirector.proxies(),
            namespaces: app.namespaces(),
            connections,
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
            serving: app.serving(),
            past: past::Past::of(app),
        }
    }
}
