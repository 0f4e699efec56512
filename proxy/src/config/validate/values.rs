//! Single values: durations, numbers, ports, prefixes, names, identities.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use crate::{
    config::{errors::Problems, file::Port, shape::closest},
    identity::{Expected, TrustDomain},
};

/// A duration that must be there: `off` is refused.
pub(super) fn duration(
    problems: &mut Problems,
    key: &str,
    text: Option<&str>,
    default: Duration,
) -> Duration {
    match text {
        None => default,
        Some("off") => {
            problems.bad(
                key,
                "off",
                "this cannot be off",
                "write a duration, like \"30s\"",
            );
            default
        }
        Some(text) => parse_duration(problems, key, text).unwrap_or(default),
    }
}

/// A duration that may be `off`.
pub(super) fn duration_or_off(
    problems: &mut Problems,
    key: &str,
    text: Option<&str>,
    default: Option<Duration>,
) -> Option<Duration> {
    match text {
        None => default,
        Some("off") => None,
        Some(text) => parse_duration(problems, key, text),
    }
}

fn parse_duration(problems: &mut Problems, key: &str, text: &str) -> Option<Duration> {
    /// Nothing here is meant to last longer, and timers and socket options overflow.
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    const FIX: &str = "write a number and a unit, like \"250ms\", \"30s\", \"5min\" or \"1h\"";
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => problems.bad(key, text, "this cannot be zero", FIX),
        Ok(long) if long > LONGEST => {
            problems.bad(key, text, "this is longer than a year", FIX);
        }
        Ok(duration) => return Some(duration),
        Err(error) => problems.bad(key, text, format!("this is not a duration: {error}"), FIX),
    }
    None
}

/// A whole number within `range`.
pub(super) fn number(
    problems: &mut Problems,
    key: &str,
    value: Option<i64>,
    range: RangeInclusive<u32>,
    default: u32,
) -> u32 {
    let Some(value) = value else { return default };
    match u32::try_from(value)
        .ok()
        .filter(|value| range.contains(value))
    {
        Some(value) => value,
        None => {
            let (from, to) = range.into_inner();
            problems.bad(
                key,
                value,
                format!("this must be from {from} to {to}"),
                format!("the default is {default}"),
            );
            default
        }
    }
}

/// A number of things that cannot be zero; `None` if it is not said.
pub(super) fn count(problems: &mut Problems, key: &str, value: Option<i64>) -> Option<NonZeroU32> {
    value.and_then(|_| NonZeroU32::new(number(problems, key, value, 1..=1024, 1)))
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    problems: &mut Problems,
    key: &str,
    text: &str,
    words: &[(&str, T)],
) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let names = || words.iter().map(|(word, _)| *word);
    let list = names()
        .map(|word| format!("{word:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    let fix = match closest(text, names()) {
        Some(close) => format!("did you mean {close:?}?"),
        None => String::new(),
    };
    problems.bad(key, text, format!("this must be one of {list}"), fix);
    None
}

/// The name of a rule, identity or selection: it stands in records, messages and map keys.
pub(super) fn name(problems: &mut Problems, key: &str, text: &str) -> bool {
    let fine = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !fine {
        problems.bad(
            key,
            text,
            "a name has 1 to 64 letters, digits, '-', '_' or '.'",
            "names go into records and messages: keep them short and plain",
        );
    }
    fine
}

/// A file that is named relative to the configuration's folder.
pub(super) fn file(
    problems: &mut Problems,
    key: &str,
    config: &Path,
    path: Option<&PathBuf>,
    what: &str,
) -> Option<PathBuf> {
    let Some(path) = path else {
        problems.missing(key, "this is missing", format!("name {what}"));
        return None;
    };
    if path.as_os_str().is_empty() {
        problems.bad(key, path, "this is empty", format!("name {what}"));
        return None;
    }
    Some(config.parent().unwrap_or(Path::new("")).join(path))
}

/// Ports in order, each once.
pub(super) fn ports(
    problems: &mut Problems,
    key: &str,
    ports: &[Port],
) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<_> = ports
        .iter()
        .enumerate()
        .filter_map(|(index, port)| range(problems, &format!("{key}[{index}]"), port))
        .collect();
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn range(problems: &mut Problems, key: &str, port: &Port) -> Option<RangeInclusive<u16>> {
    const FIX: &str = "write a port from 1 to 65535, like \"8080\", or a range, like \"9000-9100\"";
    let (written, text) = match port {
        Port::Number(number) => (number.to_string(), number.to_string()),
        Port::Text(text) => (format!("{text:?}"), text.clone()),
    };
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    let parse = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        plain
            .then(|| text.parse::<u16>().ok())?
            .filter(|port| *port > 0)
    };
    match (parse(from), parse(to)) {
        (Some(from), Some(to)) if from <= to => return Some(from..=to),
        (Some(from), Some(to)) => problems.bad(
            key,
            format_args!("{written}"),
            "the range ends before it begins",
            format!("write \"{to}-{from}\""),
        ),
        _ => problems.bad(key, format_args!("{written}"), "this is not a port", FIX),
    }
    None
}

/// Whether two lists of ports share one.
pub(super) fn shared_port(
    a: &[RangeInclusive<u16>],
    b: &[RangeInclusive<u16>],
) -> Option<RangeInclusive<u16>> {
    a.iter().find_map(|a| {
        b.iter().find_map(|b| {
            let shared = *a.start().max(b.start())..=*a.end().min(b.end());
            (!shared.is_empty()).then_some(shared)
        })
    })
}

/// Prefixes, each once.
pub(super) fn prefixes(problems: &mut Problems, key: &str, texts: &[String]) -> Vec<IpNet> {
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        if let Some(net) = prefix(problems, &format!("{key}[{index}]"), text)
            && !found.contains(&net)
        {
            found.push(net);
        }
    }
    found
}

/// A prefix, or one address. IPv4-mapped becomes IPv4: the hooks see both as IPv4.
fn prefix(problems: &mut Problems, key: &str, text: &str) -> Option<IpNet> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            problems.bad(
                key,
                text,
                "this is neither a prefix nor an address",
                "write \"10.1.0.0/16\" or \"2001:db8::/32\"; names are not resolved",
            );
            return None;
        }
    };
    if net.addr() != net.network() {
        problems.bad(
            key,
            text,
            format!("bits behind the first {} are set", net.prefix_len()),
            format!(
                "write {:?} for the network, or {:?} for the one address",
                net.trunc().to_string(),
                IpNet::from(net.addr()).to_string()
            ),
        );
        return None;
    }
    Some(unmapped(net))
}

fn unmapped(net: IpNet) -> IpNet {
    let mapped = match net.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    mapped
        .zip(net.prefix_len().checked_sub(96))
        .and_then(|(address, len)| Ipv4Net::new(address, len).ok())
        .map_or(net, IpNet::V4)
}

/// What of `net` no remote client can truly have as its address.
pub(super) fn never_remote(net: &IpNet) -> Option<&'static str> {
    let special: [(&str, IpAddr, u8); 6] = [
        ("loopback", Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        ("loopback", Ipv6Addr::LOCALHOST.into(), 128),
        ("multicast", Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        (
            "multicast",
            Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(),
            8,
        ),
        ("the unspecified address", Ipv4Addr::UNSPECIFIED.into(), 32),
        ("the unspecified address", Ipv6Addr::UNSPECIFIED.into(), 128),
    ];
    special.into_iter().find_map(|(what, address, len)| {
        let other = IpNet::new(address, len).ok()?;
        (net.contains(&other) || other.contains(net)).then_some(what)
    })
}

/// Entries of `expect` or `allow`; a trust domain without a bundle can never be met.
pub(super) fn expected(problems: &mut Problems, key: &str, texts: &[String]) -> Vec<Expected> {
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match text.parse::<Expected>() {
            Err(error) => problems.bad(&key, text, error.to_string(), ""),
            Ok(entry) => {
                match &entry {
                    Expected::Spiffe(id) => trusted(problems, &key, text, id.trust_domain()),
                    Expected::Any => problems.warn(
                        &key,
                        "\"any\" takes everybody whose certificate any of the bundles verifies",
                    ),
                    Expected::Dns(_) | Expected::IpSan => {}
                }
                found.push(entry);
            }
        }
    }
    found
}

/// Reports an identity whose trust domain has no bundle.
pub(super) fn trusted(problems: &mut Problems, key: &str, text: &str, domain: &TrustDomain) {
    if !problems.has(&super::trust_key(domain.as_str())) {
        problems.bad(
            key,
            text,
            format!("no bundle can verify the trust domain {domain}"),
            format!("add [trust.{:?}] with its bundle", domain.as_str()),
        );
    }
}
