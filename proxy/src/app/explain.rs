//! What would become of a connection, by the rules that are active.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::App;
use crate::{
    config::Protocol,
    policy::explain::{Connecting, Explanation, Incoming, Served, explain, incoming},
};

/// The answer to several questions of one task.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// One for each destination.
    pub explained: Vec<Explanation>,
    /// What the daemon does at this moment.
    pub now: String,
    /// Its network namespace.
    pub netns: String,
}

/// The answer for a port.
#[derive(Debug, Serialize)]
pub struct ExplainedInbound {
    /// The rule.
    pub explained: Incoming,
    /// What listens there.
    pub now: String,
}

/// The answer for a listener.
#[derive(Debug, Serialize)]
pub struct ExplainedListener {
    /// What it does.
    pub explained: Served,
    /// Whether it is served, and which endpoints behind it are up.
    pub now: String,
}

impl App {
    /// Explains connections of a task.
    pub fn explain(&self, to: &[SocketAddr], udp: bool, task: &Connecting) -> Explained {
        let policy = self.data.policy.load();
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let explained = to
            .iter()
            .map(|to| explain(&policy.config, &policy.tables, protocol, *to, task))
            .collect();
        let now = match self.data.live.is_draining() {
            true => "the daemon is stopping: what would be redirected gets its rule's fail mode",
            false => {
                "the daemon runs and takes what is redirected, in its own network namespace and those that \
                 `status` names as served"
            }
        };
        Explained {
            explained,
            now: now.to_owned(),
            netns: std::fs::read_link("/proc/self/ns/net")
                .map_or_else(|_| "unknown".into(), |link| link.display().to_string()),
        }
    }

    /// Explains what becomes of who comes to a port.
    pub fn explain_inbound(&self, port: u16, from: Option<IpAddr>) -> ExplainedInbound {
        let policy = self.data.policy.load();
        let ports = self.inbound_ports();
        let found = ports.iter().find(|found| found.port == port);
        let listening = found.map_or((0, 0), |found| (found.listening, found.elsewhere));
        ExplainedInbound {
            explained: incoming(&policy.config, port, from),
            now: match listening {
                (0, 0) => "nothing listens at the port".into(),
                (0, _) => "what listens at the port is outside the attach point".into(),
                (count, _) => format!("{count} sockets listen at the port"),
            },
        }
    }
}
