//! Where a start would listen: in which network namespaces, found now, and at which addresses.

use std::{collections::HashSet, fs, io, net::SocketAddr, path::Path};

use serde::Serialize;

use crate::{
    config::{Config, NetnsSelector, NetnsSource},
    control,
    kernel::{
        attach::planned::Elsewhere,
        rules::{RuleTables, Scope},
        sockdiag,
    },
    netns::{Id, source::Source},
};

/// An entry of `intercept.netns`.
#[derive(Serialize)]
pub(super) struct Namespaces {
    /// As the configuration has it.
    pub(super) entry: String,
    /// Those that it names now, as `readlink` and `lsns` show them.
    pub(super) found: Vec<String>,
    /// Those of them that are not the daemon's own.
    #[serde(skip)]
    others: Vec<Elsewhere>,
    /// Why there are none, or when there will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) otherwise: Option<String>,
}

/// Listening sockets of one kind.
#[derive(Serialize)]
pub(super) struct Listeners {
    /// `outbound`, `inbound`, `gateway`, `listener`, `control`.
    pub(super) takes: &'static str,
    /// Which listener of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<Configured>,
    /// An address whose ports the kernel chooses, an address with its port, or a file.
    pub(super) at: String,
    /// How many there are.
    pub(super) count: u32,
    /// In which network namespace.
    pub(super) namespace: String,
}

/// A `[[listener]]`.
#[derive(Serialize)]
pub(super) struct Configured {
    pub(super) name: String,
    pub(super) mode: &'static str,
    pub(super) tls: &'static str,
}

/// The daemon's own comes first.
pub(super) fn namespaces(config: &Config, mount: Option<&Path>) -> Vec<Namespaces> {
    let own = Id::at(Path::new("/proc/self/ns/net")).ok();
    let others = config.intercept.netns.iter();
    let others = others.map(|entry| look(entry, own, mount));
    std::iter::once(host(own)).chain(others).collect()
}

fn host(own: Option<Id>) -> Namespaces {
    Namespaces {
        entry: "host".into(),
        found: own.iter().map(|id| name(id.inode)).collect(),
        others: Vec::new(),
        otherwise: None,
    }
}

/// Those that selections of rules name.
pub(super) fn named(config: &Config, mount: Option<&Path>) -> Vec<Namespaces> {
    let own = Id::at(Path::new("/proc/self/ns/net")).ok();
    let tables = RuleTables::compile(config, Scope::Selections, 0);
    let entries = tables.netns_asked().iter();
    let each = entries.map(|entry| match entry {
        NetnsSelector::Host => host(own),
        NetnsSelector::Path(path) => look(&NetnsSource::Path(path.clone()), own, mount),
    });
    each.collect()
}

fn look(entry: &NetnsSource, own: Option<Id>, mount: Option<&Path>) -> Namespaces {
    let (mut found, mut others, mut otherwise) = (Vec::new(), Vec::new(), None);
    match (entry, mount) {
        (NetnsSource::Selected, _) => {
            otherwise = Some(
                "each in which a process connects that a rule is for, from its first connection on"
                    .to_owned(),
            );
        }
        (_, None) => otherwise = Some("the cgroup2 hierarchy was not found".to_owned()),
        (_, Some(mount)) => match Source::new(entry.clone()).look(mount) {
            Err(error) => otherwise = Some(error.to_string()),
            Ok(paths) => {
                for path in paths {
                    match Id::at(&path) {
                        Ok(id) if own == Some(id) => {
                            otherwise = Some(format!("{} is the daemon's own", path.display()));
                        }
                        Ok(id) => {
                            found.push(name(id.inode));
                            others.push(Elsewhere {
                                path,
                                inode: id.inode,
                            });
                        }
                        Err(error) => otherwise = Some(format!("{}: {error}", path.display())),
                    }
                }
                if found.is_empty() && otherwise.is_none() {
                    otherwise = Some("nobody is there yet".to_owned());
                }
            }
        },
    }
    found.sort_unstable();
    found.dedup();
    Namespaces {
        entry: entry.to_string(),
        found,
        others,
        otherwise,
    }
}

/// As `readlink` has it.
pub(super) fn name(inode: u64) -> String {
    format!("net:[{inode}]")
}

/// Namespaces beside the daemon's own in which inbound rules would hold, each once.
pub(super) fn received(config: &Config, namespaces: &[Namespaces]) -> Vec<Elsewhere> {
    let mut known = HashSet::new();
    let all = namespaces.iter().flat_map(|entry| &entry.others);
    all.filter(|there| config.receives_in_namespaces() && known.insert(there.inode))
        .cloned()
        .collect()
}

/// Every listener, in the daemon's own namespace and in those that are there.
pub(super) fn listeners(config: &Config, namespaces: &[Namespaces]) -> Vec<Listeners> {
    let has_v6 = matches!(fs::exists("/proc/net/if_inet6"), Ok(true));
    let families = ["127.0.0.1", "::1"].into_iter();
    let families: Vec<&str> = families.take(if has_v6 { 2 } else { 1 }).collect();
    let mut all = Vec::new();
    let mut listen = |takes, listener, at: String, count, namespace: &str| {
        all.push(Listeners {
            takes,
            listener,
            at,
            count,
            namespace: namespace.to_owned(),
        });
    };
    let mut known: Vec<&String> = Vec::new();
    for (index, entry) in namespaces.iter().enumerate() {
        for namespace in &entry.found {
            if known.contains(&namespace) {
                continue;
            }
            known.push(namespace);
            // Elsewhere there is one of each family, and for what comes in only if a rule holds there.
            let (kinds, count): (&[&str], u32) = match index {
                _ if !config.intercepts => (&[], 0),
                0 => (&["outbound", "inbound"], config.intercept.listeners),
                _ if config.receives_in_namespaces() => (&["outbound", "inbound"], 1),
                _ => (&["outbound"], 1),
            };
            for takes in kinds {
                for family in &families {
                    listen(takes, None, (*family).to_owned(), count, namespace);
                }
            }
        }
    }
    let own = known.first().map_or("", |own| own.as_str());
    if let Some(gateway) = &config.gateway {
        listen("gateway", None, gateway.listen.to_string(), 1, own);
    }
    let path = control::socket_path(&config.daemon.runtime_dir, &config.daemon.instance);
    for listener in &config.listeners {
        for at in &listener.bind {
            let configured = Configured {
                name: listener.name.clone(),
                mode: listener.serves.mode(),
                tls: listener.tls_mode(),
            };
            listen("listener", Some(configured), at.to_string(), 1, own);
        }
    }
    listen("control", None, path.display().to_string(), 1, own);
    all
}

/// Of each address of a listener at which somebody listens already, why a start would fail.
pub(super) fn taken(config: &Config) -> io::Result<Vec<String>> {
    let there = sockdiag::listening()?;
    let all = config.listeners.iter();
    let all = all.flat_map(|listener| listener.bind.iter().map(move |at| (listener, *at)));
    let refused = all.filter_map(|(listener, at)| {
        let by = there.iter().find(|other| excludes(other.at, at))?;
        let name = &listener.name;
        Some(format!(
            "the listener {name:?}: somebody listens at {} already; stop it, or bind another address \
             than {at}",
            by.at
        ))
    });
    Ok(refused.collect())
}

/// Whether nobody can listen at `wanted` beside who listens at `there`.
fn excludes(there: SocketAddr, wanted: SocketAddr) -> bool {
    let (a, b) = (there.ip(), wanted.ip());
    there.port() == wanted.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}
