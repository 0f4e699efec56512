//! `[upstream.NAME]`

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use rustls_pki_types::DnsName;

use super::{http::host, join, references, values};
use crate::config::{
    Address, Balance, Check, Health, HttpVersion, ProxyHeader, Upstream, UpstreamTls, Wire,
    errors::Problems, file,
};

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const RETRIES: u32 = 2;

/// Who names an upstream.
#[derive(Default)]
struct Users<'a> {
    gateways: BTreeSet<&'a str>,
    listeners: BTreeSet<&'a str>,
    /// Those of mode "http".
    requests: BTreeSet<&'a str>,
}

/// All upstreams, without those that cannot be used.
pub(super) fn upstreams(problems: &mut Problems, file: &file::File) -> BTreeMap<String, Upstream> {
    let rules = file.outbound.iter();
    let listeners = file.listener.iter();
    let users = Users {
        gateways: rules.filter_map(|rule| rule.gateway.as_deref()).collect(),
        requests: listeners
            .clone()
            .filter(|listener| listener.mode.as_deref() == Some("http"))
            .flat_map(file::Listener::upstreams)
            .collect(),
        listeners: listeners.flat_map(file::Listener::upstreams).collect(),
    };
    let upstreams = file.upstream.iter().filter_map(|(name, written)| {
        let key = join("upstream", name);
        let fine = values::name(problems, &key, name);
        let [gateway, listener] =
            [&users.gateways, &users.listeners].map(|users| users.contains(name.as_str()));
        if !gateway && !listener {
            problems.warn(&key, "no listener and no rule sends connections to it");
        }
        if written.http.is_some() && !users.requests.contains(name.as_str()) {
            let text =
                "only listeners of mode \"http\" send requests, and none of them sends any there";
            problems.warn(&format!("{key}.http"), text);
        }
        let upstream = upstream(problems, &key, written, gateway)?;
        fine.then(|| (name.clone(), upstream))
    });
    upstreams.collect()
}

fn upstream(
    problems: &mut Problems,
    key: &str,
    file: &file::Upstream,
    gateway: bool,
) -> Option<Upstream> {
    const BALANCES: [(&str, Balance); 3] = [
        ("round-robin", Balance::RoundRobin),
        ("least-connections", Balance::LeastConnections),
        ("two-choices", Balance::TwoChoices),
    ];
    const HEADERS: [(&str, ProxyHeader); 3] = [
        ("v1", ProxyHeader::V1),
        ("v2", ProxyHeader::V2),
        ("v2-tls", ProxyHeader::V2Tls),
    ];
    const VERSIONS: [(&str, HttpVersion); 2] = [("1.1", HttpVersion::One), ("2", HttpVersion::Two)];
    let addresses_key = format!("{key}.addresses");
    if file.addresses.is_empty() {
        problems.missing(
            &addresses_key,
            "it is not said where the upstream is",
            "write addresses = [\"10.0.0.9:15443\"]",
        );
    }
    let addresses: Vec<Address> = file
        .addresses
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            address(
                problems,
                &format!("{addresses_key}[{index}]"),
                text,
                gateway,
            )
        })
        .collect();
    let tls = tls(problems, key, file, gateway);
    let balance = match &file.balance {
        Some(text) => values::word(problems, &format!("{key}.balance"), text, &BALANCES),
        None => Some(Balance::TwoChoices),
    };
    let send_proxy = file
        .send_proxy
        .as_deref()
        .and_then(|text| values::word(problems, &format!("{key}.send_proxy"), text, &HEADERS));
    if send_proxy.is_some() && matches!(&tls, Ok(Some(tls)) if tls.wire == Wire::Tunnel) {
        problems.missing(
            &format!("{key}.send_proxy"),
            "a tunnel names the client by itself, and its far end takes no PROXY header",
            "leave it out, or write wire = \"tls\"",
        );
    }
    let http = match &file.http {
        Some(text) => values::word(problems, &format!("{key}.http"), text, &VERSIONS),
        None => Some(HttpVersion::Negotiated),
    };
    let retries = values::number(
        problems,
        &format!("{key}.retries"),
        file.retries,
        0..=16,
        RETRIES,
    );
    let health = health(problems, key, &file.health);
    (!addresses.is_empty()).then_some(Upstream {
        addresses,
        tls: tls.ok()?,
        balance: balance?,
        health,
        retries,
        http: http?,
        send_proxy,
    })
}

/// It was reported what is wrong.
struct Unusable;

/// How connections are protected; `None` is plain text.
fn tls(
    problems: &mut Problems,
    key: &str,
    file: &file::Upstream,
    gateway: bool,
) -> Result<Option<UpstreamTls>, Unusable> {
    const WIRES: [(&str, Option<Wire>); 3] = [
        ("plain", None),
        ("tls", Some(Wire::Tls)),
        ("tunnel", Some(Wire::Tunnel)),
    ];
    let wire_key = format!("{key}.wire");
    let wire = match &file.wire {
        Some(text) => values::word(problems, &wire_key, text, &WIRES).ok_or(Unusable)?,
        None if gateway => Some(Wire::Tunnel),
        // No listener could use a tunnel.
        None if file.expect.is_some() => Some(Wire::Tls),
        None => None,
    };
    if gateway && wire != Some(Wire::Tunnel) {
        problems.missing(
            &wire_key,
            "an outbound rule names this upstream as its gateway, and gateways take tunnels alone",
            "write wire = \"tunnel\" or leave it out",
        );
    }
    let expect_key = format!("{key}.expect");
    let Some(wire) = wire else {
        let keys = [
            ("identity", file.identity.is_some()),
            ("expect", file.expect.is_some()),
            ("server_name", file.server_name.is_some()),
        ];
        for (name, _) in keys.into_iter().filter(|(_, written)| *written) {
            problems.missing(
                &format!("{key}.{name}"),
                "connections to this upstream are in plain text: this protects nothing",
                "write wire = \"tls\", or leave it out",
            );
        }
        return Ok(None);
    };
    references::any_trust(problems, key, "it verifies the upstream");
    let written = file.expect.as_deref().unwrap_or_default();
    if written.is_empty() {
        problems.missing(
            &expect_key,
            "an upstream must say whom it expects, or anybody with a certificate could answer",
            "name SPIFFE IDs or DNS names, or \"ip-san\" for the address that was dialled",
        );
    }
    let expect = values::expected(problems, &expect_key, written);
    if let Some(name) = &file.identity {
        references::identity(problems, key, Some(name));
    } else if wire == Wire::Tunnel && !gateway {
        references::identity(problems, key, None);
    }
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
    if expect.is_empty() {
        return Err(Unusable);
    }
    Ok(Some(UpstreamTls {
        wire,
        identity: file.identity.clone(),
        expect,
        server_name: file.server_name.clone(),
    }))
}

fn health(problems: &mut Problems, key: &str, file: &file::Health) -> Health {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Connect,
        Http,
    }
    const KINDS: [(&str, Kind); 2] = [("connect", Kind::Connect), ("http", Kind::Http)];
    let key = format!("{key}.health");
    let check = file
        .check
        .as_deref()
        .and_then(|text| values::word(problems, &format!("{key}.check"), text, &KINDS));
    let path_key = format!("{key}.path");
    let path = file.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.bad(
            &path_key,
            path,
            "this is not a path of HTTP",
            "write path = \"/healthz\"",
        );
    }
    if file.path.is_some() && check != Some(Kind::Http) {
        problems.missing(
            &path_key,
            "this has an effect only with check = \"http\"",
            "leave it out, or write check = \"http\"",
        );
    }
    let host_key = format!("{key}.host");
    let host = file.host.as_ref().and_then(|text| {
        let host = host::with_port(text);
        if host.is_none() {
            problems.bad(
                &host_key,
                text,
                "this is not a host",
                "write host = \"app.example.org\"",
            );
        }
        host
    });
    if file.host.is_some() && check != Some(Kind::Http) {
        problems.missing(
            &host_key,
            "this has an effect only with check = \"http\"",
            "leave it out, or write check = \"http\"",
        );
    }
    Health {
        check: check.map(|kind| match kind {
            Kind::Connect => Check::Connect,
            Kind::Http => Check::Http {
                path: path.into(),
                host,
            },
        }),
        interval: values::duration(
            problems,
            &format!("{key}.interval"),
            file.interval.as_deref(),
            INTERVAL,
        ),
        timeout: values::duration(
            problems,
            &format!("{key}.timeout"),
            file.timeout.as_deref(),
            TIMEOUT,
        ),
        down: values::number(problems, &format!("{key}.down"), file.down, 1..=1000, 1),
        up: values::number(problems, &format!("{key}.up"), file.up, 1..=1000, 1),
    }
}

fn address(problems: &mut Problems, key: &str, text: &str, gateway: bool) -> Option<Address> {
    const FIX: &str = "write \"10.0.0.9:15443\", \"[2001:db8::9]:15443\" or \"host.example:15443\"";
    if let Ok(at) = text.parse::<SocketAddr>() {
        let at = socket(problems, key, text, at)?;
        if at.ip().is_unspecified() || at.ip().is_multicast() {
            problems.bad(
                key,
                text,
                "nobody can be reached there",
                "write the address at which the upstream listens for others",
            );
            return None;
        }
        return Some(Address::Socket(at));
    }
    let named = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        DnsName::try_from(host).ok()?;
        Some((host.to_ascii_lowercase(), port))
    });
    match named {
        Some(_) if gateway => {
            problems.bad(
                key,
                text,
                "an outbound rule names this upstream as its gateway, and a gateway's name is not \
                 resolved",
                "write its address",
            );
            None
        }
        Some((host, port)) => Some(Address::Name { host, port }),
        None => {
            problems.bad(key, text, "this is not an address and a port", FIX);
            None
        }
    }
}

/// An address that was written as `text`, if one can connect to it.
pub(super) fn socket(
    problems: &mut Problems,
    key: &str,
    text: &str,
    at: SocketAddr,
) -> Option<SocketAddr> {
    if at.port() == 0 {
        problems.bad(
            key,
            text,
            "nobody can connect to port 0",
            "write a port from 1 to 65535",
        );
        return None;
    }
    Some(SocketAddr::new(at.ip().to_canonical(), at.port()))
}

/// Where a listener is.
pub(super) fn bind(problems: &mut Problems, key: &str, text: &str) -> Option<SocketAddr> {
    let Ok(at) = text.parse::<SocketAddr>() else {
        problems.bad(
            key,
            text,
            "this is not an address and a port",
            "write \"127.0.0.1:8080\", \"0.0.0.0:8081\" or \"[::]:8081\"",
        );
        return None;
    };
    socket(problems, key, text, at)
}
