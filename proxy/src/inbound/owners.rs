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
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, sleep_until},
};

use crate::{
    addr::LocalAddr,
    config::{CgroupPattern, Config, Select, Selector},
    kernel::{
        KernelError,
        cgroup::matching::{self, Matched},
        containers::Containers,
        listening,
        sockdiag::Listening,
    },
    netns::Namespace,
    policy::{InboundRoute, Policy},
    refusal::{Reason, Refusal},
};

/// Between two looks that connections ask for. A look reads all listening sockets and walks
/// through cgroups: however many ask, it costs no more than this often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// The owners of listening sockets, as of the last look. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    namespace: Namespace,
    mount: Arc<Path>,
    containers: Arc<Containers>,
    seen: Arc<ArcSwap<Seen>>,
    /// When the last look began that a connection asked for. Held while one is taken.
    looked: Arc<Mutex<Option<Instant>>>,
}

#[derive(Default)]
struct Seen {
    /// By where they listen; several with SO_REUSEPORT.
    listeners: HashMap<SocketAddr, Vec<Owner>>,
    /// Cgroups that each pattern of a selection matches, with those below.
    within: HashMap<CgroupPattern, Matched>,
}

#[derive(Clone, Copy)]
struct Owner {
    cgroup: u64,
    uid: u32,
    v6_only: bool,
}

impl Owners {
    /// Nothing seen yet. `mount` is the cgroup2 hierarchy.
    pub fn new(namespace: Namespace, mount: PathBuf) -> Self {
        Self {
            namespace,
            mount: mount.into(),
            containers: Arc::default(),
            seen: Arc::default(),
            looked: Arc::default(),
        }
    }

    /// Those of another namespace, of which nothing has been seen.
    pub fn inside(&self, namespace: Namespace) -> Self {
        Self {
            namespace,
            mount: Arc::clone(&self.mount),
            containers: Arc::clone(&self.containers),
            seen: Arc::default(),
            looked: Arc::default(),
        }
    }

    /// The listening sockets of its namespace.
    pub fn sockets(&self) -> Result<Vec<Listening>, KernelError> {
        let listed = self.namespace.enter(listening::sockets);
        listed.map_err(|error| {
            KernelError::new(
                "entering a network namespace to list its sockets",
                "it takes CAP_SYS_ADMIN in the user namespace that owns it",
                error,
            )
        })?
    }

    /// Takes in the listening sockets as they are now, and the cgroups that `patterns` match.
    pub fn update<'a>(
        &self,
        sockets: &[Listening],
        patterns: impl Iterator<Item = &'a CgroupPattern>,
    ) {
        let mut seen = Seen {
            within: matching::ids(&self.mount, patterns, &*self.containers),
            ..Seen::default()
        };
        for socket in sockets {
            let owner = Owner {
                cgroup: socket.cgroup,
                uid: socket.uid,
                v6_only: socket.v6_only,
            };
            // A listener at ::ffff:10.0.0.1 is one at 10.0.0.1; `::` and 0.0.0.0 stay apart.
            let at = SocketAddr::new(socket.at.ip().to_canonical(), socket.at.port());
            seen.listeners.entry(at).or_default().push(owner);
        }
        self.seen.store(Arc::new(seen));
    }

    /// Judges whether the application that listens at `local` is the one that the rule is for.
    /// `policy` is what the rule is of.
    ///
    /// # Errors
    /// [`Reason::NotSelected`]
    pub async fn check(
        &self,
        policy: &Arc<Policy>,
        route: &InboundRoute,
        local: LocalAddr,
    ) -> Result<(), Refusal> {
        let Some(select) = &route.select else {
            return Ok(());
        };
        if self.is_selected(select, local) {
            return Ok(());
        }
        // It may have begun to listen since the last look.
        let (owners, policy) = (self.clone(), Arc::clone(policy));
        self.look_since(Instant::now(), move || {
            let sockets = owners
                .sockets()
                .map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
            // All patterns, for the other rules are judged by the same look.
            owners.update(&sockets, selected_cgroups(&policy.config));
            Ok(())
        })
        .await?;
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

    /// Returns after a look that began at `asked` or later: one that is under way is waited for,
    /// and one look serves all who asked before it.
    async fn look_since(
        &self,
        asked: Instant,
        look: impl FnOnce() -> Result<(), Refusal> + Send + 'static,
    ) -> Result<(), Refusal> {
        let mut looked: OwnedMutexGuard<_> = Arc::clone(&self.looked).lock_owned().await;
        if let Some(last) = *looked {
            if last >= asked {
                return Ok(());
            }
            sleep_until(last + BETWEEN_LOOKS).await;
        }
        *looked = Some(Instant::now());
        // The lock goes with the look: who asked may be gone before it ends.
        let taken = tokio::task::spawn_blocking(move || {
            let outcome = look();
            drop(looked);
            outcome
        });
        taken.await.unwrap_or_else(|error| {
            Err(Refusal::new(
                Reason::Internal,
                format!("looking at listening sockets: {error}"),
            ))
        })
    }

    fn is_selected(&self, select: &Select, local: LocalAddr) -> bool {
        let seen = self.seen.load();
        let at = |ip: IpAddr| {
            let at = SocketAddr::new(ip, local.port());
            seen.listeners.get(&at).into_iter().flatten().copied()
        };
        let mut owners: Vec<Owner> = at(local.ip()).collect();
        if local.ip().is_ipv4() {
            owners.extend(at(Ipv4Addr::UNSPECIFIED.into()));
            owners.extend(at(Ipv6Addr::UNSPECIFIED.into()).filter(|owner| !owner.v6_only));
        } else {
            owners.extend(at(Ipv6Addr::UNSPECIFIED.into()));
        }
        let matches = |selector: &Selector, owner: &Owner, perhaps: bool| {
            selector.cgroup.as_ref().is_none_or(|pattern| {
                seen.within.get(pattern).is_some_and(|ids| {
                    ids.certain.contains(&owner.cgroup)
                        || perhaps && ids.possible.contains(&owner.cgroup)
                })
            }) && selector.uid.is_none_or(|uid| uid == owner.uid)
        };
        // All of them: the kernel may give the connection to any socket of a group.
        !owners.is_empty()
            && owners.iter().all(|owner| {
                select.include.iter().any(|s| matches(s, owner, false))
                    && !select.exclude.iter().any(|s| matches(s, owner, true))
            })
    }
}

/// Cgroups for which inbound rules ask.
pub fn selected_cgroups(config: &Config) -> impl Iterator<Item = &CgroupPattern> {
    let named = config
        .inbound
        .iter()
        .filter_map(|rule| rule.select.as_ref());
    named
        .filter_map(|name| config.selects.get(name))
        .flat_map(|select| select.include.iter().chain(&select.exclude))
        .filter_map(|selector| selector.cgroup.as_ref())
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

#[cfg(test)]
mod tests;
