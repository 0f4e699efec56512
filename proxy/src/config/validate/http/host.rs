//! Hosts of routes, rewrites and redirects.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls_pki_types::DnsName;

use crate::config::{errors::Problems, http::HostPattern};

/// One of `hosts` of a route.
pub(super) fn pattern(problems: &mut Problems, key: &str, text: &str) -> Option<HostPattern> {
    if text == "*" {
        problems.bad(
            key,
            text,
            "a pattern has a name behind \"*.\"",
            "leave hosts out for every host",
        );
        return None;
    }
    match text.strip_prefix("*.") {
        Some(parent) => name(parent).map(HostPattern::Below),
        None => plain(text).map(HostPattern::Exact),
    }
    .or_else(|| {
        problems.bad(
            key,
            text,
            "this is not a host, without a port",
            "write \"www.example.org\", \"*.example.org\" for all below it, \"192.0.2.1\" or \
             \"[2001:db8::1]\"",
        );
        None
    })
}

/// A name or an address as clients write it, without a port.
pub(super) fn plain(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.to_string());
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bracketed.unwrap_or(text).parse::<Ipv6Addr>() {
        return Some(format!("[{address}]"));
    }
    name(text)
}

/// A host, with a port or without.
pub(in crate::config::validate) fn with_port(text: &str) -> Option<String> {
    let ported = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        // An IPv6 address without brackets has colons of its own.
        let host = plain(host).filter(|_| host.ends_with(']') || !host.contains(':'))?;
        Some(format!("{host}:{port}"))
    });
    ported.or_else(|| plain(text))
}

fn name(text: &str) -> Option<String> {
    let fine = DnsName::try_from(text).is_ok() && !text.ends_with('.');
    fine.then(|| text.to_ascii_lowercase())
}
