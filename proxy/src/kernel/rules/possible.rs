//! What can be decided for a destination, whoever connects.

use sidetrack_abi::{decision::Tables as _, rules::Rule};

use super::{RuleTables, compile::value};
use crate::{addr::OriginalDst, config::Protocol};

impl RuleTables {
    /// The rule of each task that could connect there; `None` stands for those that have none.
    ///
    /// No fewer than there are: asked before it is found out who is behind a socket, which takes a
    /// look at all processes.
    pub fn possible(&self, protocol: Protocol, destination: OriginalDst) -> Vec<Option<Rule>> {
        let destination = destination.get();
        let class = self.destination_class(&destination.ip().into());
        let chain = class.and_then(|class| self.chains.of.get(&class));
        let mut found = Vec::new();
        for link in chain.into_iter().flatten() {
            let Some(rule) = self.chains.outbound.get(link.rule as usize) else {
                continue;
            };
            let port = destination.port();
            let is_for = rule.protocols.decide(protocol)
                && rule.ports.iter().any(|range| range.contains(&port));
            if is_for {
                found.push(Some(value(link.rule, rule, protocol, &self.proxies)));
                if link.selection.is_none() {
                    return found;
                }
            }
        }
        found.push(None);
        found
    }
}
