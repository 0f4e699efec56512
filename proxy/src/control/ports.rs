//! Inbound ports, as somebody who connects finds them.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::{config::Config, kernel::sockdiag::Listening};

/// A port that an inbound rule names and on which something listens in the daemon's own network
/// namespace.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct InboundPort {
    /// The port.
    pub port: u16,
    /// The rule.
    pub rule: String,
    /// Sockets that listen inside the attach point: connections are steered for them.
    pub listening: usize,
    /// Sockets that listen outside it. They get none of what is steered: getpeername() would show
    /// them a remote client as a local one. Unless the rule takes plain text, the port looks closed.
    pub elsewhere: usize,
}

/// The ports of the rules on which something listens. `governed` are the cgroups of the attach
/// point; `None` is all.
pub fn inbound_ports(
    config: &Config,
    sockets: &[Listening],
    governed: Option<&HashSet<u64>>,
) -> Vec<InboundPort> {
    let mut ports: BTreeMap<u16, InboundPort> = BTreeMap::new();
    for socket in sockets {
        let port = socket.at.port();
        let Some(rule) = config.inbound_for(port) else {
            continue;
        };
        let found = ports.entry(port).or_insert_with(|| InboundPort {
            port,
            rule: rule.name.clone(),
            listening: 0,
            elsewhere: 0,
        });
        if governed.is_none_or(|governed| governed.contains(&socket.cgroup)) {
            found.listening += 1;
        } else {
            found.elsewhere += 1;
        }
    }
    ports.into_values().collect()
}
