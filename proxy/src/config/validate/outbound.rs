//! `[[outbound]]`

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use rustls_pki_types::DnsName;

use super::{handshakes, protocol, references, values};
use crate::config::{
    FailMode, Intercept, Mtls, OutboundAction, OutboundRule, Protocols, Wire, display_ports,
    errors::Problems, file, shape::rule_key,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Mtls,
    Gateway,
    Passthrough,
    Redirect,
    Deny,
    Ignore,
}

const ACTIONS: [(&str, Action); 6] = [
    ("mtls", Action::Mtls),
    ("gateway", Action::Gateway),
    ("passthrough", Action::Passthrough),
    ("deny", Action::Deny),
    ("ignore", Action::Ignore),
    ("redirect", Action::Redirect),
];

const WRITE: &str =
    "write \"mtls\", \"gateway\", \"passthrough\", \"redirect\", \"deny\" or \"ignore\"";

/// What connect() may fail with. None of these makes an application wait for an event that
/// never comes, as EINPROGRESS or EINTR would.
const ERRNOS: [(&str, Errno); 6] = [
    ("EPERM", Errno::EPERM),
    ("EACCES", Errno::EACCES),
    ("ECONNREFUSED", Errno::ECONNREFUSED),
    ("EHOSTUNREACH", Errno::EHOSTUNREACH),
    ("ENETUNREACH", Errno::ENETUNREACH),
    ("ETIMEDOUT", Errno::ETIMEDOUT),
];

/// What the rules before this one say, also those that cannot be used: errors between rules
/// are reported together with the errors within them.
#[derive(Default)]
struct Seen<'a> {
    names: BTreeSet<String>,
    by_prefix: BTreeMap<Claim<'a>, Vec<(&'a str, Ports, Protocols)>>,
}

/// A prefix, for a selection.
type Claim<'a> = (Option<&'a str>, IpNet);

type Ports = Vec<RangeInclusive<u16>>;

/// All rules in the order of the file, without those that cannot be used.
pub(super) fn rules(
    problems: &mut Problems,
    file: &[file::Outbound],
    intercept: &Intercept,
) -> Vec<OutboundRule> {
    let mut seen = Seen::default();
    let rules = file.iter().enumerate().filter_map(|(index, written)| {
        let key = rule_key("outbound", index, written.name.as_deref());
        let rule = rule(problems, &key, written, &mut seen)?;
        warn_if_excluded(problems, &key, &rule, intercept);
        Some(rule)
    });
    rules.collect()
}

fn rule<'a>(
    problems: &mut Problems,
    key: &str,
    file: &'a file::Outbound,
    seen: &mut Seen<'a>,
) -> Option<OutboundRule> {
    let name = references::rule_name(problems, key, file.name.as_deref(), &mut seen.names);
    references::select(problems, key, file.select.as_deref());
    let to_key = format!("{key}.to");
    let ports_key = format!("{key}.ports");
    let to = if file.to.is_empty() {
        warn_if_empty(problems, &to_key, "every destination");
        vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
    } else {
        values::prefixes(problems, &to_key, &file.to)
    };
    let ports = if file.ports.is_empty() {
        warn_if_empty(problems, &ports_key, "every port");
        vec![1..=u16::MAX]
    } else {
        values::ports(problems, &ports_key, &file.ports)
    };
    let action_key = format!("{key}.action");
    let Some(action) = &file.action else {
        problems.missing(&action_key, "the rule does not say what happens", WRITE);
        return None;
    };
    let kind = values::word(problems, &action_key, action, &ACTIONS)?;
    only_with(problems, key, file, kind);
    let action = match kind {
        Action::Mtls => mtls(problems, key, file).map(OutboundAction::Mtls),
        Action::Gateway => gateway(problems, key, file),
        Action::Passthrough => Some(OutboundAction::Passthrough),
        Action::Redirect => references::proxy(problems, key, file.proxy.as_deref())
            .map(|proxy| OutboundAction::Redirect { proxy }),
        Action::Deny => Some(deny(problems, key, file)),
        Action::Ignore => Some(OutboundAction::Ignore),
    };
    let fail = fail_mode(problems, key, file, kind);
    let protocols = action
        .as_ref()
        .map(|action| protocol::protocols(problems, key, file, action, &ports));
    let decides = protocols.unwrap_or(Protocols::ANY);
    ambiguous(problems, key, file, &to, (&ports, decides), seen);
    Some(OutboundRule {
        name: name?,
        select: file.select.clone(),
        to,
        ports,
        protocols: protocols?,
        action: action?,
        fail,
    })
}

/// `exclude_to` wins over every rule.
fn warn_if_excluded(
    problems: &mut Problems,
    key: &str,
    rule: &OutboundRule,
    intercept: &Intercept,
) {
    let excluded = |to: &IpNet| intercept.exclude_to.iter().any(|net| net.contains(to));
    if rule.to.iter().all(excluded) {
        problems.warn(
            &format!("{key}.to"),
            "intercept.exclude_to names all of it, so that the rule never decides",
        );
    }
}

/// An empty list is often a template that filled in nothing.
fn warn_if_empty(problems: &mut Problems, key: &str, meaning: &str) {
    if problems.has(key) {
        problems.warn(key, &format!("the list is empty, which means {meaning}"));
    }
}

fn mtls(problems: &mut Problems, key: &str, file: &file::Outbound) -> Option<Mtls> {
    const WIRES: [(&str, Wire); 2] = [("tunnel", Wire::Tunnel), ("tls", Wire::Tls)];
    references::any_trust(problems, key, "it verifies the peer");
    let wire = match &file.wire {
        None => Some(Wire::Tunnel),
        Some(wire) => values::word(problems, &format!("{key}.wire"), wire, &WIRES),
    };
    let identity = references::identity(problems, key, file.identity.as_deref());
    let expect_key = format!("{key}.expect");
    let written = file.expect.as_deref().unwrap_or_default();
    if written.is_empty() {
        problems.missing(
            &expect_key,
            "an mtls rule must say whom it expects, or anybody with a certificate could answer",
            "name SPIFFE IDs or DNS names, or \"ip-san\" for the address that was dialled",
        );
    }
    let expect = values::expected(problems, &expect_key, written);
    if let Some(name) = &file.server_name
        && DnsName::try_from(name.as_str()).is_err()
    {
        problems.bad(
            &format!("{key}.server_name"),
            name,
            "this is not a DNS name; TLS sends no other server names (RFC 6066 section 3)",
            "write a name, or leave the key out",
        );
    }
    let handshakes = handshakes::handshakes(problems, key, file, wire);
    Some(Mtls {
        wire: wire?,
        identity: identity?,
        expect,
        server_name: file.server_name.clone(),
        handshakes: handshakes?,
    })
}

fn gateway(problems: &mut Problems, key: &str, file: &file::Outbound) -> Option<OutboundAction> {
    references::any_trust(problems, key, "it verifies the gateway");
    let identity = references::identity(problems, key, file.identity.as_deref());
    let upstream = references::upstream(problems, key, file.gateway.as_deref());
    Some(OutboundAction::Gateway {
        upstream: upstream?,
        identity: identity?,
    })
}

/// EPERM by default: it is what the kernel itself gives when a program refuses a connect, so
/// it is the same on kernels before 5.18, where a program cannot choose.
fn deny(problems: &mut Problems, key: &str, file: &file::Outbound) -> OutboundAction {
    let errno = file
        .errno
        .as_deref()
        .and_then(|name| values::word(problems, &format!("{key}.errno"), name, &ERRNOS))
        .unwrap_or(Errno::EPERM);
    OutboundAction::Deny {
        errno: errno as i32,
    }
}

fn fail_mode(
    problems: &mut Problems,
    key: &str,
    file: &file::Outbound,
    action: Action,
) -> FailMode {
    const MODES: [(&str, FailMode); 2] = [("block", FailMode::Block), ("pass", FailMode::Pass)];
    let key = format!("{key}.fail");
    let mode = file
        .fail
        .as_deref()
        .and_then(|text| values::word(problems, &key, text, &MODES))
        .unwrap_or(FailMode::Block);
    if matches!(action, Action::Mtls | Action::Gateway) && mode == FailMode::Pass {
        problems.bad(
            &key,
            "pass",
            "without the proxy the bytes would leave this host in plain text",
            "write fail = \"block\" or leave it out; for plain text, action = \"passthrough\"",
        );
    }
    mode
}

/// Keys that would have no effect are mistakes: whoever wrote them expects one.
fn only_with(problems: &mut Problems, key: &str, file: &file::Outbound, action: Action) {
    use Action::{Deny, Gateway, Mtls, Passthrough, Redirect};
    let keys: [(&str, bool, &str, &[Action]); 11] = [
        ("wire", file.wire.is_some(), "mtls", &[Mtls]),
        (
            "identity",
            file.identity.is_some(),
            "mtls or gateway",
            &[Mtls, Gateway],
        ),
        ("expect", file.expect.is_some(), "mtls", &[Mtls]),
        ("server_name", file.server_name.is_some(), "mtls", &[Mtls]),
        ("resumption", file.resumption.is_some(), "mtls", &[Mtls]),
        ("groups", file.groups.is_some(), "mtls", &[Mtls]),
        ("gateway", file.gateway.is_some(), "gateway", &[Gateway]),
        ("proxy", file.proxy.is_some(), "redirect", &[Redirect]),
        (
            "udp",
            file.udp.is_some(),
            "mtls, gateway or redirect",
            &[Mtls, Gateway, Redirect],
        ),
        ("errno", file.errno.is_some(), "deny", &[Deny]),
        (
            "fail",
            file.fail.is_some(),
            "mtls, gateway, passthrough or redirect",
            &[Mtls, Gateway, Passthrough, Redirect],
        ),
    ];
    for (name, written, needed, with) in keys {
        if written && !with.contains(&action) {
            problems.missing(
                &format!("{key}.{name}"),
                format!("this has an effect only with action {needed}"),
                "leave it out, or change the action",
            );
        }
    }
}

/// Two rules that say different things of the same connection: neither would be the one that
/// decides. One error for each rule is enough. What a rule says of UDP beside its action gives way.
fn ambiguous<'a>(
    problems: &mut Problems,
    key: &str,
    file: &'a file::Outbound,
    to: &[IpNet],
    (ports, protocols): (&Ports, Protocols),
    seen: &mut Seen<'a>,
) {
    let name = file.name.as_deref().unwrap_or_default();
    let mut reported = false;
    for net in to {
        let same = seen
            .by_prefix
            .entry((file.select.as_deref(), *net))
            .or_default();
        for (other, theirs, others) in same.iter() {
            if let Some(shared) = values::shared_port(ports, theirs)
                && protocols.overlap(*others)
                && !reported
            {
                reported = true;
                let shared = display_ports(&[shared]);
                problems.missing(
                    key,
                    format!(
                        "the outbound rules {other:?} and {name:?} both decide {net} port \
                         {shared}, for the same selection"
                    ),
                    "take the ports or the prefix out of one of them; a longer prefix wins over \
                     a shorter",
                );
            }
        }
        same.push((name, ports.clone(), protocols));
    }
}
