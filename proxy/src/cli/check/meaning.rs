//! What a configuration means, for people and for programs.

use serde_json::{Value, json};

use crate::{
    cli::table,
    config::{
        Config, Datagrams, EgressRule, FailMode, InboundRule, OutboundAction, OutboundRule, Wire,
        display_ports,
    },
    kernel::rules::listed,
};

mod listeners;

pub(super) fn as_json(config: &Config) -> Value {
    let outbound = |rule: &OutboundRule| {
        json!({
            "name": rule.name,
            "select": rule.select,
            "to": rule.to,
            "ports": display_ports(&rule.ports),
            "protocol": protocol(rule),
            "udp": udp(rule),
            "action": action(rule),
            "expect": expect(config, rule),
            "fail": fail(rule),
        })
    };
    let inbound = |rule: &InboundRule| {
        json!({
            "name": rule.name,
            "select": rule.select,
            "ports": display_ports(&rule.ports),
            "accept": accept(rule),
            "allow": texts(&rule.allow),
        })
    };
    let egress = |rule: &EgressRule| {
        json!({
            "name": rule.name,
            "identity": texts(&rule.identity),
            "to": rule.to,
            "ports": display_ports(&rule.ports),
            "action": let_through(rule),
        })
    };
    let upstreams = config.upstreams.iter().map(|(name, upstream)| {
        json!({
            "name": name,
            "addresses": texts(&upstream.addresses),
            "expect": texts(upstream.expect()),
        })
    });
    let proxies = config.proxies.iter().map(|(name, proxy)| {
        json!({ "name": name, "ipv4": proxy.v4, "ipv6": proxy.v6, "user": proxy.user })
    });
    let gateway = config.gateway.as_ref().map(|gateway| {
        json!({
            "listen": gateway.listen,
            "identity": gateway.identity,
            "egress": gateway.egress.iter().map(egress).collect::<Vec<_>>(),
        })
    });
    json!({
        "ok": true,
        "path": config.path,
        "warnings": config.warnings,
        "cgroup": config.intercept.cgroup,
        "netns": namespaces(config),
        "outbound": listed(config).into_iter().map(outbound).collect::<Vec<_>>(),
        "inbound": config.inbound.iter().map(inbound).collect::<Vec<_>>(),
        "listeners": listeners::as_json(config),
        "upstreams": upstreams.collect::<Vec<_>>(),
        "proxies": proxies.collect::<Vec<_>>(),
        "gateway": gateway,
    })
}

pub(super) fn as_text(config: &Config) -> String {
    let mut text = format!(
        "{}: OK, {} outbound and {} inbound rules, {} listeners\n",
        config.path.display(),
        config.outbound.len(),
        config.inbound.len(),
        config.listeners.len(),
    );
    text += &match config.intercepts {
        true => format!(
            "intercepts {} in the network namespaces {}\n",
            config.intercept.cgroup,
            list(&namespaces(config)),
        ),
        false => "intercepts nothing\n".to_owned(),
    };
    let mut section = |title: &str, headings: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            text += &format!("\n{title}:\n{}", table(headings, &rows));
        }
    };
    let rules = listed(config).into_iter();
    section(
        "Outbound, the longest prefix of all rules decides",
        &[
            "RULE", "SELECT", "TO", "PORTS", "PROTOCOL", "ACTION", "EXPECT", "FAIL",
        ],
        rules.map(|rule| outbound_row(config, rule)).collect(),
    );
    let all = config.listeners.iter();
    let rows = all.clone().map(listeners::row).collect();
    section("Listeners", &listeners::LISTENER, rows);
    for listener in all {
        let routes = listeners::routes(listener).iter();
        section(
            &format!("Routes of {}, the first that fits decides", listener.name),
            &listeners::ROUTE,
            routes.map(listeners::route_row).collect(),
        );
    }
    let upstreams = config.upstreams.iter().map(|(name, upstream)| {
        vec![
            name.clone(),
            list(&upstream.addresses),
            list(upstream.expect()),
        ]
    });
    section(
        "Upstreams",
        &["NAME", "ADDRESSES", "EXPECT"],
        upstreams.collect(),
    );
    let proxies = config.proxies.iter().map(|(name, proxy)| {
        let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
        vec![
            name.clone(),
            port(proxy.v4),
            port(proxy.v6),
            proxy.user.to_string(),
        ]
    });
    section(
        "Proxies of others",
        &["NAME", "127.0.0.1", "::1", "USER"],
        proxies.collect(),
    );
    section(
        "Inbound",
        &["RULE", "SELECT", "PORTS", "ACCEPT", "ALLOW"],
        config.inbound.iter().map(inbound_row).collect(),
    );
    if let Some(gateway) = &config.gateway {
        section(
            &format!(
                "Gateway at {} as {}, the first rule that fits decides",
                gateway.listen, gateway.identity
            ),
            &["RULE", "IDENTITY", "TO", "PORTS", "ACTION"],
            gateway.egress.iter().map(egress_row).collect(),
        );
    }
    for warning in &config.warnings {
        text += &format!("\nwarning: {warning}\n");
    }
    text
}

fn outbound_row(config: &Config, rule: &OutboundRule) -> Vec<String> {
    let beside = match rule.protocols.udp {
        Datagrams::Denied => " (udp denied)",
        Datagrams::Passed => " (udp passed)",
        Datagrams::Unruled | Datagrams::ByAction => "",
    };
    let expect = expect(config, rule);
    vec![
        rule.name.clone(),
        select(rule.select.as_ref()),
        list(&rule.to),
        display_ports(&rule.ports),
        format!("{}{beside}", protocol(rule)),
        action(rule),
        if expect.is_empty() {
            "-".into()
        } else {
            list(&expect)
        },
        fail(rule).into(),
    ]
}

fn inbound_row(rule: &InboundRule) -> Vec<String> {
    let allow = if rule.allow.is_empty() {
        "everybody".into()
    } else {
        list(&rule.allow)
    };
    vec![
        rule.name.clone(),
        select(rule.select.as_ref()),
        display_ports(&rule.ports),
        accept(rule).join(", "),
        allow,
    ]
}

fn egress_row(rule: &EgressRule) -> Vec<String> {
    vec![
        rule.name.clone(),
        list(&rule.identity),
        list(&rule.to),
        display_ports(&rule.ports),
        let_through(rule).into(),
    ]
}

fn select(name: Option<&String>) -> String {
    name.cloned().unwrap_or_else(|| "everything".into())
}

/// The protocols that the action is about.
fn protocol(rule: &OutboundRule) -> &'static str {
    match (rule.protocols.tcp, rule.protocols.udp) {
        (true, Datagrams::ByAction) => "any",
        (true, _) => "tcp",
        (false, _) => "udp",
    }
}

/// What is said of UDP beside the action.
fn udp(rule: &OutboundRule) -> Option<&'static str> {
    match rule.protocols.udp {
        Datagrams::Denied => Some("deny"),
        Datagrams::Passed => Some("pass"),
        Datagrams::Unruled | Datagrams::ByAction => None,
    }
}

fn action(rule: &OutboundRule) -> String {
    match &rule.action {
        OutboundAction::Mtls(mtls) => match mtls.wire {
            Wire::Tunnel => "mtls (tunnel)".into(),
            Wire::Tls => "mtls (tls)".into(),
        },
        OutboundAction::Gateway { upstream, .. } => format!("gateway ({upstream})"),
        OutboundAction::Passthrough => "passthrough".into(),
        OutboundAction::Redirect { proxy } => format!("redirect ({proxy})"),
        OutboundAction::Deny { errno } => {
            format!("deny ({:?})", nix::errno::Errno::from_raw(*errno))
        }
        OutboundAction::Ignore => "ignore".into(),
    }
}

/// Whom the far end must prove to be.
fn expect(config: &Config, rule: &OutboundRule) -> Vec<String> {
    match &rule.action {
        OutboundAction::Mtls(mtls) => texts(&mtls.expect),
        OutboundAction::Gateway { upstream, .. } => {
            let upstream = config.upstreams.get(upstream);
            upstream.map_or_else(Vec::new, |upstream| texts(upstream.expect()))
        }
        _ => Vec::new(),
    }
}

/// What holds without a proxy.
fn fail(rule: &OutboundRule) -> &'static str {
    match (&rule.action, rule.fail) {
        (OutboundAction::Deny { .. } | OutboundAction::Ignore, _) => "-",
        (_, FailMode::Block) => "block",
        (_, FailMode::Pass) => "pass",
    }
}

fn accept(rule: &InboundRule) -> Vec<String> {
    let kinds = [
        (rule.accept.tunnel, "tunnel"),
        (rule.accept.mtls, "mtls"),
        (rule.accept.plain, "plain"),
    ];
    let mut accepted: Vec<_> = kinds
        .into_iter()
        .filter(|(accepted, _)| *accepted)
        .map(|(_, name)| name.to_owned())
        .collect();
    if !rule.plain_from.is_empty() {
        accepted.push(format!("plain from {}", list(&rule.plain_from)));
    }
    accepted
}

fn let_through(rule: &EgressRule) -> &'static str {
    if rule.allow { "allow" } else { "deny" }
}

fn namespaces(config: &Config) -> Vec<String> {
    let others = config.intercept.netns.iter().map(ToString::to_string);
    std::iter::once("host".to_owned()).chain(others).collect()
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn list(items: &[impl ToString]) -> String {
    texts(items).join(", ")
}
