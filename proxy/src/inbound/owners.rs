//! Which cgroups and users the listening sockets belong to.
//!
//! A rule with a `select` is for an application of that selection: another process that takes
//! the port gets no connection by it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::{
    addr::LocalAddr,
    config::Selector,
    kernel::{cgroup, listening, sockdiag::Listening},
    policy::InboundRoute,
    refusal::{Reason, Refusal},
};

/// The owners of listening sockets, as of the last look. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    mount: Arc<Path>,
    seen: Arc<ArcSwap<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// By where they listen; several with SO_REUSEPORT.
    listeners: HashMap<SocketAddr, Vec<Owner>>,
    /// Cgroups below each path that a selection names.
    below: HashMap<String, HashSet<u64>>,
}

#[derive(Clone, Copy)]
struct Owner {
    cgroup: u64,
    uid: u32,
}

impl Owners {
    /// Nothing seen yet. `mount` is the cgroup2 hierarchy.
    pub fn new(mount: PathBuf) -> Self {
        Self {
            mount: mount.into(),
            seen: Arc::default(),
        }
    }

    /// Takes in the listening sockets as they are now, and the cgroups below `paths`.
    pub fn update<'a>(&self, sockets: &[Listening], paths: impl Iterator<Item = &'a str>) {
        let mut seen = Seen::default();
        for socket in sockets {
            let owner = Owner {
                cgroup: socket.cgroup,
                uid: socket.uid,
            };
            seen.listeners.entry(socket.at).or_default().push(owner);
        }
        for path in paths {
            let ids = ids_below(&cgroup::folder(&self.mount, path));
            seen.below.insert(path.to_owned(), ids);
        }
        self.seen.store(Arc::new(seen));
    }

    /// Judges whether the application that listens at `local` is the one that the rule is for.
    ///
    /// # Errors
    /// [`Reason::NotSelected`]
    pub fn check(&self, route: &InboundRoute, local: LocalAddr) -> Result<(), Refusal> {
        let Some(select) = &route.select else {
            return Ok(());
        };
        if self.is_selected(select, local) {
            return Ok(());
        }
        // It may have begun to listen since the last look.
        let sockets = listening::sockets()
            .map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
        let paths = select
            .include
            .iter()
            .chain(&select.exclude)
            .filter_map(|selector| selector.cgroup.as_deref());
        self.update(&sockets, paths);
        if self.is_selected(select, local) {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::NotSelected,
            format!(
                "the process that listens at {local} is not in the selection of rule {}",
                route.rule
            ),
        ))
    }

    fn is_selected(&self, select: &crate::config::Select, local: LocalAddr) -> bool {
        let seen = self.seen.load();
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let owners: Vec<Owner> = std::iter::once(local.ip())
            .chain(any)
            .filter_map(|ip| seen.listeners.get(&SocketAddr::new(ip, local.port())))
            .flatten()
            .copied()
            .collect();
        let matches = |selector: &Selector, owner: &Owner| {
            selector.cgroup.as_ref().is_none_or(|path| {
                seen.below
                    .get(path)
                    .is_some_and(|ids| ids.contains(&owner.cgroup))
            }) && selector.uid.is_none_or(|uid| uid == owner.uid)
        };
        // All of them: the kernel may give the connection to any socket of a group.
        !owners.is_empty()
            && owners.iter().all(|owner| {
                select.include.iter().any(|s| matches(s, owner))
                    && !select.exclude.iter().any(|s| matches(s, owner))
            })
    }
}

/// Ids of a cgroup and of all below it.
pub fn ids_below(folder: &Path) -> HashSet<u64> {
    let mut ids = HashSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(metadata) = fs::metadata(&folder) else {
            continue;
        };
        ids.insert(metadata.ino());
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        folders.extend(entries.filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        }));
    }
    ids
}
