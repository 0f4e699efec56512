//! `[[listener]]`

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use super::{http, passthrough, references, upstream, values};
use crate::config::{
    InboundRule, Listener, ListenerTls, Serves, TlsMode, TlsVersion, Upstream, Wire,
    errors::Problems,
    file::{self, Bind},
    shape::rule_key,
};

/// What the listeners before this one say.
#[derive(Default)]
struct Seen {
    names: BTreeSet<String>,
    bound: BTreeSet<SocketAddr>,
}

/// All listeners, without those that cannot be used.
pub(super) fn listeners(
    problems: &mut Problems,
    path: &Path,
    file: &file::File,
    inbound: &[InboundRule],
) -> Vec<Listener> {
    let mut seen = Seen::default();
    let listeners = file.listener.iter().enumerate();
    listeners
        .filter_map(|(index, written)| {
            let key = rule_key("listener", index, written.name.as_deref());
            listener(problems, path, &key, written, inbound, &mut seen)
        })
        .collect()
}

fn listener(
    problems: &mut Problems,
    path: &Path,
    key: &str,
    file: &file::Listener,
    inbound: &[InboundRule],
    seen: &mut Seen,
) -> Option<Listener> {
    #[derive(Clone, Copy)]
    enum Mode {
        Tcp,
        Http,
        TlsPassthrough,
    }
    const MODES: [(&str, Mode); 3] = [
        ("tcp", Mode::Tcp),
        ("http", Mode::Http),
        ("tls-passthrough", Mode::TlsPassthrough),
    ];
    let name = references::rule_name(problems, key, file.name.as_deref(), &mut seen.names);
    let bind = bind(problems, key, file.bind.as_ref(), inbound, seen);
    let tls_key = format!("{key}.tls");
    let tls = file
        .tls
        .as_ref()
        .map(|file| tls(problems, path, &tls_key, file));
    let proxy_from = match &file.proxy_from {
        Some(texts) => values::prefixes(problems, &format!("{key}.proxy_from"), texts),
        None => Vec::new(),
    };
    let mode_key = format!("{key}.mode");
    let Some(mode) = &file.mode else {
        problems.missing(
            &mode_key,
            "it is not said what the listener is about",
            "write mode = \"tcp\", \"http\" or \"tls-passthrough\"",
        );
        return None;
    };
    let mode = values::word(problems, &mode_key, mode, &MODES)?;
    if !matches!(mode, Mode::TlsPassthrough) {
        passthrough::none(problems, key, file);
    }
    if !matches!(mode, Mode::Http) {
        http::none(problems, key);
    }
    let serves = match mode {
        Mode::Tcp => Serves::Tcp {
            upstream: references::listeners_upstream(problems, key, file.upstream.as_deref())?,
        },
        Mode::Http => {
            let http = http::http(problems, key, file)?;
            http::warn_of_covered(problems, key, &http);
            Serves::Http(Box::new(http))
        }
        Mode::TlsPassthrough => Serves::TlsPassthrough(passthrough::servers(problems, key, file)?),
    };
    let tls = match tls {
        Some(tls) => Some(tls?),
        None => None,
    };
    (!bind.is_empty()).then_some(Listener {
        name: name?,
        bind,
        tls,
        proxy_from,
        serves,
    })
}

/// Listeners whose upstream takes tunnels alone: what comes to a listener has no destination that
/// OPEN could name.
pub(super) fn upstreams(
    problems: &mut Problems,
    listeners: &[Listener],
    upstreams: &BTreeMap<String, Upstream>,
) {
    for (index, listener) in listeners.iter().enumerate() {
        let key = rule_key("listener", index, Some(&listener.name));
        let named: Vec<(String, &str)> = match &listener.serves {
            Serves::Tcp { upstream } => vec![(key, upstream)],
            Serves::Http(http) => http::upstreams(problems, &key, http),
            Serves::TlsPassthrough(servers) => {
                passthrough::upstreams(problems, &key, servers, upstreams);
                continue;
            }
        };
        for (key, name) in named {
            let tls = upstreams
                .get(name)
                .and_then(|upstream| upstream.tls.as_ref());
            if tls.is_some_and(|tls| tls.wire == Wire::Tunnel) {
                problems.bad(
                    &format!("{key}.upstream"),
                    name,
                    "this upstream takes tunnels, as gateways do, and no connections of a listener",
                    "write wire = \"tls\" or \"plain\" in its table, or name another",
                );
            }
        }
    }
}

fn bind(
    problems: &mut Problems,
    key: &str,
    written: Option<&Bind>,
    inbound: &[InboundRule],
    seen: &mut Seen,
) -> Vec<SocketAddr> {
    let bind_key = format!("{key}.bind");
    let texts = match written {
        Some(Bind::One(text)) => vec![(bind_key, text)],
        Some(Bind::Several(texts)) if !texts.is_empty() => texts
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("{bind_key}[{index}]"), text))
            .collect(),
        Some(Bind::Several(_)) | None => {
            problems.missing(
                &bind_key,
                "it is not said where the listener is",
                "write bind = \"127.0.0.1:8080\"",
            );
            return Vec::new();
        }
    };
    let mut found = Vec::with_capacity(texts.len());
    for (key, text) in texts {
        let Some(at) = upstream::bind(problems, &key, text) else {
            continue;
        };
        if !seen.bound.insert(at) {
            problems.bad(
                &key,
                text,
                "another listener is there",
                "give each listener an address or a port of its own",
            );
            continue;
        }
        let taken = inbound.iter().find(|rule| {
            let mut ports = rule.ports.iter();
            !at.ip().is_loopback() && ports.any(|ports| ports.contains(&at.port()))
        });
        if let Some(rule) = taken {
            problems.bad(
                &key,
                text,
                format!(
                    "the inbound rule {:?} takes this port from the listener",
                    rule.name
                ),
                "give the listener a port that no inbound rule names",
            );
            continue;
        }
        found.push(at);
    }
    found
}

fn tls(
    problems: &mut Problems,
    path: &Path,
    key: &str,
    file: &file::ListenerTls,
) -> Option<ListenerTls> {
    const MODES: [(&str, TlsMode); 3] = [
        ("simple", TlsMode::Simple),
        ("optional", TlsMode::Optional),
        ("mutual", TlsMode::Mutual),
    ];
    const VERSIONS: [(&str, TlsVersion); 2] =
        [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let mode_key = format!("{key}.mode");
    let mode = match &file.mode {
        Some(text) => values::word(problems, &mode_key, text, &MODES),
        None => {
            problems.missing(
                &mode_key,
                "it is not said whether clients show certificates",
                "write mode = \"mutual\", \"optional\" or \"simple\"",
            );
            None
        }
    };
    let identities_key = format!("{key}.identities");
    if file.identities.is_empty() && file.certificates.is_none() {
        problems.missing(
            &identities_key,
            "the listener has no certificate to show",
            "write identities = [\"NAME\"], with its files in [identity.NAME]",
        );
    }
    for (index, name) in file.identities.iter().enumerate() {
        references::listed_identity(problems, &format!("{identities_key}[{index}]"), name);
    }
    let certificates = file.certificates.as_ref().and_then(|folder| {
        let key = format!("{key}.certificates");
        values::file(problems, &key, path, Some(folder), "the folder")
    });
    let allow_key = format!("{key}.allow");
    let written = file.allow.as_deref().unwrap_or_default();
    match mode {
        Some(TlsMode::Simple) if file.allow.is_some() => problems.missing(
            &allow_key,
            "in mode \"simple\" clients show no certificate: this protects nothing",
            "leave it out, or write mode = \"mutual\"",
        ),
        Some(TlsMode::Optional | TlsMode::Mutual) => {
            references::any_trust(problems, key, "it verifies the clients");
            if written.is_empty() {
                problems.missing(
                    &allow_key,
                    "the listener does not say who may connect with a certificate",
                    "name SPIFFE IDs or DNS names; \"any\" takes everybody that a bundle verifies",
                );
            }
        }
        _ => {}
    }
    let allow = values::expected(problems, &allow_key, written);
    let min_version = match &file.min_version {
        Some(text) => values::word(problems, &format!("{key}.min_version"), text, &VERSIONS),
        None => Some(TlsVersion::V1_3),
    };
    Some(ListenerTls {
        min_version: min_version?,
        mode: mode?,
        identities: file.identities.clone(),
        certificates,
        allow,
    })
}
