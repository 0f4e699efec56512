//! What becomes of who comes to a port of this host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Config, display_ports};

use super::Lost;

/// Which inbound rule is about a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Incoming {
    /// The port.
    pub port: u16,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// The rule; absent if no rule names the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What it means, in sentences.
    pub meaning: Vec<String>,
    /// Every other rule.
    pub lost: Vec<Lost>,
}

/// Explains who comes to `port`.
pub fn incoming(config: &Config, port: u16, from: Option<IpAddr>) -> Incoming {
    let rule = config.inbound_for(port);
    let others = config.inbound.iter();
    let others = others.filter(|one| rule.is_none_or(|rule| rule.name != one.name));
    let lost = others.map(|one| Lost {
        rule: one.name.clone(),
        why: format!("another port: {}", display_ports(&one.ports)),
    });
    let mut meaning = Vec::new();
    if let Some(rule) = rule {
        if from.is_some_and(|from| from.is_loopback()) {
            meaning.push("traffic of this host to itself is left alone".to_owned());
        }
        for (accepted, what) in [
            (rule.accept.tunnel, "tunnels of other sidetracks"),
            (rule.accept.mtls, "mutual TLS of any client"),
        ] {
            if accepted {
                let allow: Vec<_> = rule.allow.iter().map(ToString::to_string).collect();
                meaning.push(format!("{what} are let in, from {}", allow.join(", ")));
            }
        }
        let plain = from.map_or(rule.accept.plain, |from| {
            rule.accepts_plain_from((from, 0).into())
        });
        meaning.push(if plain {
            "plain text is let in".to_owned()
        } else if rule.plain_from.is_empty() || from.is_some() {
            "plain text is refused".to_owned()
        } else {
            let nets: Vec<_> = rule.plain_from.iter().map(ToString::to_string).collect();
            format!("plain text is refused, but from {}", nets.join(", "))
        });
        meaning.push(match rule.in_namespaces {
            true => "it holds in other network namespaces that are served, too; who listens there is not \
                     looked at here, but in the daemon's own"
                .to_owned(),
            false => "in other network namespaces than the daemon's the port is left alone".to_owned(),
        });
        if let Some(select) = &rule.select {
            meaning.push(format!("the listening application must be in {select:?}"));
        }
    } else {
        meaning.push("nothing is steered: no inbound rule names the port".to_owned());
    }
    Incoming {
        port,
        from,
        rule: rule.map(|rule| rule.name.clone()),
        meaning,
        lost: lost.collect(),
    }
}
