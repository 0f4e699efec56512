//! `[proxy.NAME]`: software of others that connections are redirected to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use sidetrack_abi::flow::PROXIES;

use super::{cgroups, join, selection, values};
use crate::config::{Proxy, errors::Problems, file};

/// All proxies, without those that cannot be used.
pub(super) fn proxies(problems: &mut Problems, file: &file::File) -> BTreeMap<String, Proxy> {
    if file.proxy.len() > PROXIES as usize {
        problems.missing(
            "proxy",
            format!(
                "there are more than {PROXIES} proxies, which is all that the kernel side holds"
            ),
            "leave out those that no rule names",
        );
    }
    let named: BTreeSet<&str> = file
        .outbound
        .iter()
        .filter_map(|rule| rule.proxy.as_deref())
        .collect();
    let mut places = BTreeMap::new();
    let proxies = file.proxy.iter().filter_map(|(name, written)| {
        let key = join("proxy", name);
        let fine = values::name(problems, &key, name);
        if !named.contains(name.as_str()) {
            problems.warn(&key, "no rule sends connections to this proxy");
        }
        let proxy = proxy(problems, &key, written)?;
        shared(problems, &key, name, &proxy, &mut places);
        fine.then(|| (name.clone(), proxy))
    });
    proxies.collect()
}

fn proxy(problems: &mut Problems, key: &str, file: &file::Proxy) -> Option<Proxy> {
    let listen_key = format!("{key}.listen");
    let user = match &file.user {
        Some(user) => selection::resolved_uid(problems, &format!("{key}.user"), user),
        None => Some(0),
    };
    let cgroup = match &file.cgroup {
        Some(text) => cgroups::pattern(problems, &format!("{key}.cgroup"), text).map(Some),
        None => Some(None),
    };
    if file.listen.is_empty() {
        problems.missing(
            &listen_key,
            "it is not said where the proxy listens",
            "write listen = [\"127.0.0.1:12345\"]",
        );
        return None;
    }
    let (mut v4, mut v6, mut both) = (None, None, None);
    for (index, text) in file.listen.iter().enumerate() {
        let key = format!("{listen_key}[{index}]");
        let Some(at) = address(problems, &key, text) else {
            continue;
        };
        let family = if at.is_ipv4() { &mut v4 } else { &mut v6 };
        if family.is_some() {
            problems.bad(
                &key,
                text,
                "the proxy has another address of this family already",
                "name at most one for IPv4 and one for IPv6; several proxies are several tables",
            );
            continue;
        }
        *family = Some(at.port());
        if at.is_ipv6() && at.ip().is_unspecified() {
            both = Some(at.port());
        }
    }
    if v4.is_none() && v6.is_none() {
        return None;
    }
    Some(Proxy {
        v4: v4.or(both),
        v6,
        user: user?,
        cgroup: cgroup?,
    })
}

/// Redirected connections go to 127.0.0.1 and ::1: nothing else there would be reached.
fn address(problems: &mut Problems, key: &str, text: &str) -> Option<SocketAddr> {
    const FIX: &str = "write \"127.0.0.1:12345\" or \"[::1]:12345\"";
    let Ok(at) = text.parse::<SocketAddr>() else {
        problems.bad(key, text, "this is not an address and a port", FIX);
        return None;
    };
    if at.port() == 0 {
        problems.bad(key, text, "nobody can connect to port 0", FIX);
        return None;
    }
    let reached = match at.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() || ip == std::net::Ipv4Addr::LOCALHOST,
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback(),
    };
    if !reached {
        problems.bad(
            key,
            text,
            "connections are redirected to 127.0.0.1 and ::1 of this host, nowhere else",
            "let the proxy listen there, or at 0.0.0.0 or [::]",
        );
        return None;
    }
    Some(at)
}

/// One listener has one entry in the kernel, so that two proxies there would be one.
fn shared<'a>(
    problems: &mut Problems,
    key: &str,
    name: &'a str,
    proxy: &Proxy,
    places: &mut BTreeMap<(u8, u16), &'a str>,
) {
    for (family, port) in [(4, proxy.v4), (6, proxy.v6)] {
        let Some(port) = port else { continue };
        if let Some(other) = places.insert((family, port), name) {
            problems.missing(
                &format!("{key}.listen"),
                format!("the proxy {other:?} has port {port} of IPv{family} as well"),
                "name one proxy in both rules",
            );
        }
    }
}
