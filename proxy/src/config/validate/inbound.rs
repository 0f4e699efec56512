//! `[[inbound]]`

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use ipnet::IpNet;

use super::{claims, references, values};
use crate::{
    config::{
        Accept, InboundRule, Intercept, Select, SourceMode, display_ports,
        errors::Problems,
        file::{self, Port},
        shape::rule_key,
    },
    identity::{Expected, SpiffeId},
};

/// Long enough for the first segment to be sent again once, short enough that a protocol in
/// which the server speaks first still feels prompt.
const DETECT: Duration = Duration::from_millis(200);

/// What the rules before this one say, also those that cannot be used: errors between rules
/// are reported together with the errors within them.
#[derive(Default)]
struct Seen<'a> {
    names: BTreeSet<String>,
    ports: Vec<(&'a str, Vec<RangeInclusive<u16>>)>,
}

/// All rules in the order of the file, without those that cannot be used.
pub(super) fn rules(problems: &mut Problems, file: &[file::Inbound]) -> Vec<InboundRule> {
    let mut seen = Seen::default();
    let rules = file.iter().enumerate().filter_map(|(index, written)| {
        let key = rule_key("inbound", index, written.name.as_deref());
        rule(problems, &key, written, &mut seen)
    });
    rules.collect()
}

/// What is kept of a listening socket tells its cgroup and its user, and no more of who made it.
pub(super) fn selects(
    problems: &mut Problems,
    file: &[file::Inbound],
    selects: &BTreeMap<String, Select>,
) {
    for (index, rule) in file.iter().enumerate() {
        let named = rule.select.as_ref().and_then(|name| selects.get(name));
        let selectors = named.into_iter().flat_map(|select| {
            let all = select.include.iter().chain(&select.exclude);
            all.filter(|selector| {
                selector.gid.is_some()
                    || selector.executable.is_some()
                    || !selector.netns.is_empty()
            })
        });
        if selectors.count() != 0 {
            problems.bad(
                &format!(
                    "{}.select",
                    rule_key("inbound", index, rule.name.as_deref())
                ),
                rule.select.as_deref().unwrap_or_default(),
                "the selection asks for a group, an executable or a network namespace: the kernel does not \
                 tell the first two of a listening socket, and inbound rules are of the daemon's own namespace",
                "name a selection by cgroup, unit, uid or user",
            );
        }
    }
}

/// What is meant to hold in other network namespaces, where none is served.
pub(super) fn served(problems: &mut Problems, rules: &[InboundRule], intercept: &Intercept) {
    if intercept.netns.is_empty()
        && let Some(rule) = rules.iter().find(|rule| rule.in_namespaces)
    {
        problems.warn(
            "intercept.netns",
            &format!(
                "it names no network namespace beside the daemon's own, so that netns = \"served\" of the \
                 inbound rule {:?} never holds; add \"selected\", a path, \"pid:\" or \"cgroup:\"",
                rule.name
            ),
        );
    }
}

fn rule<'a>(
    problems: &mut Problems,
    key: &str,
    file: &'a file::Inbound,
    seen: &mut Seen<'a>,
) -> Option<InboundRule> {
    let name = references::rule_name(problems, key, file.name.as_deref(), &mut seen.names);
    references::select(problems, key, file.select.as_deref());
    let ports = ports(problems, key, &file.ports);
    let own_name = file.name.as_deref().unwrap_or_default();
    for (other, theirs) in &seen.ports {
        overlap(problems, key, (own_name, &ports), (other, theirs));
    }
    seen.ports.push((own_name, ports.clone()));
    let accept = accept(problems, key, file.accept.as_deref());
    let source = source(problems, key, file.source.as_deref());
    let plain_from = match &file.plain_from {
        Some(texts) => values::prefixes(problems, &format!("{key}.plain_from"), texts),
        None => Vec::new(),
    };
    // The rest depends on what is accepted.
    let accept = accept?;
    let tls = accept.tunnel || accept.mtls;
    let identity = if tls {
        references::any_trust(problems, key, "it verifies the clients");
        references::identity(problems, key, file.identity.as_deref())
    } else {
        None
    };
    if !tls {
        only_with_tls(problems, key, file);
    } else if accept.plain && !plain_from.is_empty() {
        problems.warn(
            &format!("{key}.plain_from"),
            "accept lists \"plain\", so everybody may connect in plain text, not only these",
        );
    }
    let allow = allow(problems, key, file.allow.as_deref(), tls);
    let may_claim = may_claim(problems, key, file.may_claim.as_ref(), accept, &allow);
    let detect = detect(
        problems,
        key,
        file,
        tls && (accept.plain || !plain_from.is_empty()),
    );
    let in_namespaces = match file.netns.as_deref() {
        None | Some("host") => Some(false),
        Some("served") => Some(true),
        Some(other) => {
            problems.bad(
                &format!("{key}.netns"),
                other,
                "it is neither \"host\" nor \"served\"",
                "write \"served\" for all network namespaces that are served, else leave it out",
            );
            None
        }
    };
    Some(InboundRule {
        name: name?,
        select: file.select.clone(),
        ports,
        identity: if tls { Some(identity?) } else { None },
        accept,
        allow,
        plain_from,
        may_claim,
        source: source?,
        detect,
        in_namespaces: in_namespaces?,
    })
}

fn ports(problems: &mut Problems, key: &str, written: &[Port]) -> Vec<RangeInclusive<u16>> {
    const SSH: u16 = 22;
    let key = format!("{key}.ports");
    if written.is_empty() {
        problems.missing(
            &key,
            "only ports that a rule names are intercepted, and this one names none",
            "write ports = [\"8080\"]",
        );
    }
    let ports = values::ports(problems, &key, written);
    let typed = written.iter().any(|port| match port {
        Port::Number(number) => *number == i64::from(SSH),
        Port::Text(text) => text == "22",
    });
    if !typed && ports.iter().any(|range| range.contains(&SSH)) {
        problems.bad(
            &key,
            format_args!("[{}]", display_ports(&ports)),
            "the range holds port 22: intercepting SSH by accident locks people out",
            "leave 22 out of the range, or name it by itself too: \"22\"",
        );
    }
    ports
}

fn accept(problems: &mut Problems, key: &str, written: Option<&[String]>) -> Option<Accept> {
    #[derive(Clone, Copy)]
    enum Kind {
        Tunnel,
        Mtls,
        Plain,
    }
    const KINDS: [(&str, Kind); 3] = [
        ("tunnel", Kind::Tunnel),
        ("mtls", Kind::Mtls),
        ("plain", Kind::Plain),
    ];
    const FIX: &str = "write accept = [\"tunnel\", \"mtls\"]; adding \"plain\" makes it permissive";
    let key = format!("{key}.accept");
    match written {
        None => problems.missing(&key, "the rule does not say what may come", FIX),
        Some([]) => problems.missing(&key, "the list is empty, so nothing could connect", FIX),
        Some(_) => {}
    }
    let mut accept = Accept {
        tunnel: false,
        mtls: false,
        plain: false,
    };
    for (index, text) in written?.iter().enumerate() {
        match values::word(problems, &format!("{key}[{index}]"), text, &KINDS)? {
            Kind::Tunnel => accept.tunnel = true,
            Kind::Mtls => accept.mtls = true,
            Kind::Plain => accept.plain = true,
        }
    }
    (accept.tunnel || accept.mtls || accept.plain).then_some(accept)
}

fn allow(
    problems: &mut Problems,
    key: &str,
    written: Option<&[String]>,
    tls: bool,
) -> Vec<Expected> {
    let key = format!("{key}.allow");
    let written = written.unwrap_or_default();
    if tls && written.is_empty() {
        problems.missing(
            &key,
            "the rule does not say who may connect with a certificate",
            "name SPIFFE IDs or DNS names; \"any\" takes everybody that a bundle verifies",
        );
    }
    values::expected(problems, &key, written)
}

/// What is about certificates has no effect where none is ever asked for, and reads as if it
/// protected something.
fn only_with_tls(problems: &mut Problems, key: &str, file: &file::Inbound) {
    let keys = [
        ("identity", file.identity.is_some()),
        ("allow", file.allow.is_some()),
        ("plain_from", file.plain_from.is_some()),
    ];
    for (name, written) in keys {
        if written {
            problems.missing(
                &format!("{key}.{name}"),
                "accept is only \"plain\", which takes everybody: this protects nothing",
                "leave it out, or accept \"tunnel\" or \"mtls\"",
            );
        }
    }
}

fn may_claim(
    problems: &mut Problems,
    key: &str,
    written: Option<&BTreeMap<String, Vec<String>>>,
    accept: Accept,
    allow: &[Expected],
) -> BTreeMap<SpiffeId, Vec<IpNet>> {
    if written.is_some() && !accept.tunnel {
        problems.missing(
            &format!("{key}.may_claim"),
            "sources are claimed only in tunnels, which the rule does not accept",
            "leave it out, or add \"tunnel\" to accept",
        );
    }
    claims::granted(problems, key, written, ("allow", allow))
}

fn source(problems: &mut Problems, key: &str, written: Option<&str>) -> Option<SourceMode> {
    let key = format!("{key}.source");
    let (reason, fix) = match written {
        None | Some("api") => return Some(SourceMode::Api),
        Some("proxy-protocol") => return Some(SourceMode::ProxyProtocol),
        Some("transparent") => (
            "this version does not have this mode yet; a later one brings it",
            "write \"api\", or \"proxy-protocol\" if the application expects such a header",
        ),
        Some("none") => (
            "the application would see this host's own address, so that a remote client would \
             look local",
            "write \"api\", or \"proxy-protocol\" if the application expects such a header",
        ),
        Some(other) => {
            let modes = [
                ("api", SourceMode::Api),
                ("proxy-protocol", SourceMode::ProxyProtocol),
            ];
            return values::word(problems, &key, other, &modes);
        }
    };
    problems.bad(&key, written.unwrap_or_default(), reason, fix);
    None
}

fn detect(
    problems: &mut Problems,
    key: &str,
    file: &file::Inbound,
    both: bool,
) -> Option<Duration> {
    let key = format!("{key}.detect");
    if both {
        return values::duration_or_off(problems, &key, file.detect.as_deref(), Some(DETECT));
    }
    if let Some(detect) = &file.detect {
        problems.bad(
            &key,
            detect,
            "nothing is to be detected: the rule does not accept both plain text and TLS",
            "leave it out",
        );
    }
    None
}

fn overlap(
    problems: &mut Problems,
    key: &str,
    (name, ports): (&str, &[RangeInclusive<u16>]),
    (other, theirs): (&str, &[RangeInclusive<u16>]),
) {
    if let Some(shared) = values::shared_port(ports, theirs) {
        problems.missing(
            &format!("{key}.ports"),
            format!(
                "the inbound rules {other:?} and {name:?} both name port {}",
                display_ports(&[shared])
            ),
            "a port belongs to one rule: take it out of one of them",
        );
    }
}
