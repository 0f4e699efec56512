//! For whom the rules are.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{Config, Datagrams, OutboundAction, display_ports};

/// Rules by their names.
#[derive(Serialize)]
pub(super) struct Ruled {
    /// Outbound rules by the selection that they are for, in the order of the file.
    pub(super) rules: BTreeMap<String, Vec<String>>,
    /// What outbound rules say of datagrams: `deny` or `pass`, `ignore` by its action.
    pub(super) udp: BTreeMap<String, &'static str>,
    /// Ports that would be steered, by inbound rule.
    pub(super) inbound: BTreeMap<String, String>,
    /// Where a proxy of others would be looked for.
    pub(super) proxies: BTreeMap<String, Vec<String>>,
    /// Where rules and listeners send connections.
    pub(super) upstreams: BTreeMap<String, Vec<String>>,
    /// What the own gateway would let through or deny, in the order of the file.
    pub(super) egress: Vec<String>,
}

impl Ruled {
    pub(super) fn by(config: &Config) -> Self {
        let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for rule in &config.outbound {
            let select = rule.select.clone().unwrap_or_else(|| "everything".into());
            rules.entry(select).or_default().push(rule.name.clone());
        }
        let udp = config.outbound.iter().filter_map(|rule| {
            let said = match (rule.protocols.udp, &rule.action) {
                (Datagrams::Unruled, _) => return None,
                (Datagrams::Denied, _) | (Datagrams::ByAction, OutboundAction::Deny { .. }) => {
                    "deny"
                }
                (Datagrams::ByAction, OutboundAction::Ignore) => "ignore",
                (Datagrams::Passed | Datagrams::ByAction, _) => "pass",
            };
            Some((rule.name.clone(), said))
        });
        let inbound = config.inbound.iter();
        let inbound = inbound.map(|rule| (rule.name.clone(), display_ports(&rule.ports)));
        let proxies = config.proxies.iter().map(|(name, proxy)| {
            let v4 = proxy.v4.map(|port| format!("127.0.0.1:{port}"));
            let v6 = proxy.v6.map(|port| format!("[::1]:{port}"));
            (name.clone(), v4.into_iter().chain(v6).collect())
        });
        let upstreams = config.upstreams.iter().map(|(name, upstream)| {
            let addresses = upstream.addresses.iter().map(ToString::to_string);
            (name.clone(), addresses.collect())
        });
        let egress = config.gateway.iter().flat_map(|gateway| &gateway.egress);
        Self {
            rules,
            udp: udp.collect(),
            inbound: inbound.collect(),
            proxies: proxies.collect(),
            upstreams: upstreams.collect(),
            egress: egress.map(|rule| rule.name.clone()).collect(),
        }
    }
}
