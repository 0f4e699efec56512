//! `[gateway]` and `[[egress]]`.

use std::collections::BTreeSet;

use ipnet::{Ipv4Net, Ipv6Net};

use super::{claims, references, upstream, values};
use crate::config::{EgressRule, Gateway, InboundRule, errors::Problems, file, shape::rule_key};

/// This host as a gateway, with what may be reached through it.
pub(super) fn gateway(
    problems: &mut Problems,
    file: &file::File,
    inbound: &[InboundRule],
) -> Option<Gateway> {
    let egress = egress(problems, &file.egress);
    let Some(written) = &file.gateway else {
        if !file.egress.is_empty() {
            problems.missing(
                "egress",
                "these rules are for what peers reach through this host, which is no gateway",
                "add [gateway] with listen and identity, or leave [[egress]] out",
            );
        }
        return None;
    };
    references::any_trust(problems, "gateway", "it verifies the peers");
    let identity = references::identity(problems, "gateway", written.identity.as_deref());
    if file.egress.is_empty() {
        problems.missing(
            "gateway",
            "no [[egress]] rule lets anybody through",
            "add one with identity, and to or ports, and action = \"allow\"",
        );
    }
    let Some(listen) = &written.listen else {
        problems.missing(
            "gateway.listen",
            "it is not said where peers connect",
            "write listen = \"0.0.0.0:15443\"",
        );
        return None;
    };
    let listen_at = upstream::bind(problems, "gateway.listen", listen)?;
    for rule in inbound {
        if rule
            .ports
            .iter()
            .any(|ports| ports.contains(&listen_at.port()))
        {
            problems.bad(
                "gateway.listen",
                listen,
                format!(
                    "the inbound rule {:?} takes this port from the gateway",
                    rule.name
                ),
                "give the gateway a port that no inbound rule names",
            );
        }
    }
    Some(Gateway {
        listen: listen_at,
        identity: identity?,
        egress,
    })
}

fn egress(problems: &mut Problems, file: &[file::Egress]) -> Vec<EgressRule> {
    let mut names = BTreeSet::new();
    let rules = file.iter().enumerate().filter_map(|(index, written)| {
        let key = rule_key("egress", index, written.name.as_deref());
        let default = format!("egress-{}", index + 1);
        let name = written.name.as_deref().unwrap_or(&default);
        let name = references::rule_name(problems, &key, Some(name), &mut names);
        let identity_key = format!("{key}.identity");
        if written.identity.is_empty() {
            problems.missing(
                &identity_key,
                "the rule does not say whose connections it is about",
                "name SPIFFE IDs or DNS names; \"any\" is everybody that a bundle verifies",
            );
        }
        let identity = values::expected(problems, &identity_key, &written.identity);
        let to = if written.to.is_empty() {
            vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
        } else {
            values::prefixes(problems, &format!("{key}.to"), &written.to)
        };
        let ports = if written.ports.is_empty() {
            vec![1..=u16::MAX]
        } else {
            values::ports(problems, &format!("{key}.ports"), &written.ports)
        };
        const ACTIONS: [(&str, bool); 2] = [("allow", true), ("deny", false)];
        let action_key = format!("{key}.action");
        let Some(action) = &written.action else {
            problems.missing(
                &action_key,
                "the rule does not say what happens",
                "write \"allow\" or \"deny\"",
            );
            return None;
        };
        let allow = values::word(problems, &action_key, action, &ACTIONS)?;
        let claims = written.may_claim.as_ref();
        if claims.is_some() && !allow {
            problems.missing(
                &format!("{key}.may_claim"),
                "what the rule refuses is recorded with the address that the gateway sees",
                "leave it out, or say it in a rule with action = \"allow\"",
            );
        }
        let may_claim = claims::granted(problems, &key, claims, ("identity", &identity));
        Some(EgressRule {
            name: name?,
            identity,
            to,
            ports,
            allow,
            may_claim,
        })
    });
    rules.collect()
}
