//! `[[listener]]` in mode "tls-passthrough"

use std::collections::{BTreeMap, BTreeSet};

use rustls_pki_types::DnsName;

use super::references;
use crate::config::{
    Check, Servers, Upstream, errors::Problems, file, http::HostPattern, shape::join,
};

/// Which upstream has which server name.
pub(super) fn servers(
    problems: &mut Problems,
    key: &str,
    file: &file::Listener,
) -> Option<Servers> {
    if file.tls.is_some() {
        problems.missing(
            &format!("{key}.tls"),
            "TLS passes this listener as it is: it shows no certificate and asks for none",
            "leave it out, or write mode = \"tcp\" to end TLS here",
        );
    }
    let written = file.servers.as_ref();
    if file.upstream.is_none() && written.is_none_or(BTreeMap::is_empty) {
        problems.missing(
            &format!("{key}.servers"),
            "the listener does not say where connections go",
            "write servers = { \"a.example.org\" = \"NAME\" }, or upstream = \"NAME\" for all names",
        );
        return None;
    }
    let other = match file.upstream.as_deref() {
        Some(name) => Some(references::listeners_upstream(problems, key, Some(name))?),
        None => None,
    };
    let mut named = Vec::new();
    for (name, upstream) in written.into_iter().flatten() {
        let key = join(&format!("{key}.servers"), name);
        let pattern = pattern(problems, &key, name);
        references::listed_upstream(problems, &key, upstream);
        named.extend(pattern.map(|pattern| (pattern, upstream.clone())));
    }
    Some(Servers { named, other })
}

/// In another mode `servers` would decide nothing.
pub(super) fn none(problems: &mut Problems, key: &str, file: &file::Listener) {
    if file.servers.is_some() {
        problems.missing(
            &format!("{key}.servers"),
            "this has an effect only with mode = \"tls-passthrough\"",
            "leave it out, or write that mode",
        );
    }
}

/// What goes to the upstreams is TLS already, and not ours.
pub(super) fn upstreams(
    problems: &mut Problems,
    key: &str,
    servers: &Servers,
    upstreams: &BTreeMap<String, Upstream>,
) {
    let named = servers.named.iter().map(|(pattern, upstream)| {
        let name = match pattern {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Below(name) => format!("*.{name}"),
        };
        (join(&format!("{key}.servers"), &name), upstream)
    });
    let other = servers.other.iter();
    let other = other.map(|upstream| (format!("{key}.upstream"), upstream));
    let mut seen = BTreeSet::new();
    for (key, name) in named.chain(other) {
        let Some(upstream) = upstreams.get(name).filter(|_| seen.insert(name)) else {
            continue;
        };
        if upstream.tls.is_some() {
            problems.bad(
                &key,
                name,
                "this upstream takes TLS of ours, and what comes to the listener is the client's TLS \
                 already, which goes on as it is",
                "write wire = \"plain\" in its table, without expect, or name another",
            );
        } else if let Some(Check::Http { .. }) = upstream.health.check {
            problems.bad(
                &key,
                name,
                "this upstream is checked by HTTP in plain text, and what is there takes TLS: it would \
                 be down for ever",
                "write check = \"connect\" in its health, or name another",
            );
        }
    }
}

/// A server name, or `*.` and one, for every name below.
fn pattern(problems: &mut Problems, key: &str, name: &str) -> Option<HostPattern> {
    const FIX: &str =
        "write a name in lower case, \"a.example.org\", or \"*.example.org\" for all names below";
    let (below, bare) = match name.strip_prefix("*.") {
        Some(bare) => (true, bare),
        None => (false, name),
    };
    if DnsName::try_from(bare).is_err() || bare.ends_with('.') {
        problems.bad(
            key,
            name,
            "this is not a DNS name; TLS asks for no other server names (RFC 6066 section 3)",
            FIX,
        );
        return None;
    }
    if bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
        problems.bad(key, name, "server names are compared in lower case", FIX);
        return None;
    }
    let bare = bare.to_owned();
    Some(if below {
        HostPattern::Below(bare)
    } else {
        HostPattern::Exact(bare)
    })
}
