//! What goes past the redirect of this daemon: found, counted, and closed when that is asked for.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::OnceLock,
};

use super::App;
use crate::{
    config::{Existing, Proxy},
    kernel::{
        KernelError, cgroup, executable, process,
        sockdiag::{self, Connected},
    },
    netns::Namespace,
    policy::Policy,
    uncovered::{
        Holder, Owners, Surroundings, Uncovered, View,
        changed::Change,
        close::{self, Cause, Outcome, Which},
        kinds::{Kinds, NotCovered},
    },
};

/// What of it is known from the start.
pub(super) struct Past {
    /// Where our own listeners are.
    listeners: HashSet<SocketAddr>,
    /// Cookies of the sockets past the redirect when the programs had just been attached.
    older: OnceLock<HashSet<u64>>,
}

impl Past {
    pub(super) fn of(listeners: HashSet<SocketAddr>) -> Self {
        Self {
            listeners,
            older: OnceLock::new(),
        }
    }
}

/// What goes past the redirect.
pub struct PastRedirect {
    /// Connected sockets, each past a rule.
    pub uncovered: Vec<Uncovered>,
    /// Sockets of kinds that no program sees.
    pub kinds: Vec<NotCovered>,
    /// Where it could not be looked.
    pub unseen: Vec<String>,
}

/// What the kernel lists in one network namespace.
struct Listed {
    around: Surroundings,
    connected: Vec<Connected>,
    kinds: Kinds,
}

impl Listed {
    fn inside(
        namespace: &Namespace,
        found: Option<String>,
        listeners: HashSet<SocketAddr>,
    ) -> Result<Self, KernelError> {
        let listing = |error| {
            KernelError::new(
                match &found {
                    None => "listing sockets by sock_diag".to_owned(),
                    Some(found) => {
                        format!("listing sockets by sock_diag in the network namespace {found}")
                    }
                },
                "it needs CONFIG_INET_DIAG, and CAP_SYS_ADMIN in other network namespaces",
                error,
            )
        };
        let list = || {
            // The connected ones first: one that is accepted meanwhile finds its listener.
            let connected = sockdiag::connected()?;
            let listening = sockdiag::listening_ports()?;
            Ok((connected, listening, ephemeral(), Kinds::look()))
        };
        let listed = namespace.enter(list).and_then(|listed| listed);
        let (connected, listening, ephemeral, kinds) = listed.map_err(listing)?;
        Ok(Self {
            connected,
            kinds,
            around: Surroundings {
                namespace: namespace.clone(),
                found,
                listeners,
                listening,
                ephemeral,
            },
        })
    }
}

/// What was seen in all of them.
struct Seen {
    suspects: Vec<(Surroundings, Vec<Connected>)>,
    kinds: Kinds,
    unseen: Vec<String>,
}

/// What does not depend on the rules by which is judged.
struct Ground<'a> {
    own: u64,
    top: String,
    proxies: HashSet<String>,
    older: Option<&'a HashSet<u64>>,
    none: HashSet<u64>,
}

impl Ground<'_> {
    fn view<'v>(&'v self, policy: &'v Policy) -> View<'v> {
        View {
            policy,
            own: self.own,
            pid: std::process::id(),
            top: &self.top,
            proxies: &self.proxies,
            older: self.older.unwrap_or(&self.none),
        }
    }
}

impl App {
    /// Once, when everything is attached: tells of the connections that were there before, and
    /// closes them if the configuration says so.
    pub(super) fn meet_existing(&self) -> Result<(), KernelError> {
        let uncovered = self.past_redirect()?.uncovered;
        let older = uncovered.iter().map(Uncovered::cookie).collect();
        if self.past.older.set(older).is_err() || uncovered.is_empty() {
            return Ok(());
        }
        let sockets = uncovered.len();
        if self.data.policy.load().config.intercept.existing == Existing::Leave {
            tracing::warn!(
                sockets,
                "connections were there before this daemon, and go past its rules until they end: \
                 `sidetrack sockets` lists them, `sidetrack close --uncovered` or \
                 intercept.existing = \"close\" ends them"
            );
            return Ok(());
        }
        let uncovered = self.past_redirect()?.uncovered;
        let outcome = close::close(uncovered, &Which::default(), Cause::Asked, &self.data.sink);
        match &outcome.error {
            Some(error) => tracing::error!(
                sockets, closed = outcome.closed.len(), %error,
                "connections of before this daemon go past its rules, and cannot be closed"
            ),
            None => tracing::info!(
                closed = outcome.closed.len(),
                left = outcome.left,
                "connections of before this daemon were closed, as intercept.existing says"
            ),
        }
        Ok(())
    }

    /// Asks the kernel what goes past the redirect, in each network namespace that somebody uses.
    /// Reads the descriptors of all processes if something may.
    pub fn past_redirect(&self) -> Result<PastRedirect, KernelError> {
        let policy = self.data.policy.load();
        let ground = self.ground();
        let view = ground.view(&policy);
        let seen = self.look_past(&view, &[])?;
        let suspects = seen.suspects.iter().flat_map(|(_, sockets)| sockets);
        let inodes = suspects.map(|socket| socket.inode);
        let with_executables = policy.tables.asks_for_executables();
        let inodes = inodes.chain(seen.kinds.inodes()).collect();
        let owners = self.owners(inodes, with_executables);
        let judge = |(around, sockets): &(Surroundings, Vec<Connected>)| {
            let sockets = sockets.iter();
            let past = sockets.filter_map(|socket| view.judge(around, socket, &owners));
            past.collect::<Vec<_>>()
        };
        Ok(PastRedirect {
            uncovered: seen.suspects.iter().flat_map(judge).collect(),
            kinds: seen
                .kinds
                .of_governed(&owners.holders, |path| view.governs(path)),
            unseen: seen.unseen,
        })
    }

    /// Closes what goes past the redirect and is refused by the rules of `now`, and was not by those of
    /// `before`.
    pub(super) fn close_newly_refused(
        &self,
        before: &Policy,
        now: &Policy,
    ) -> Result<Outcome, KernelError> {
        let ground = self.ground();
        let change = Change {
            before: ground.view(before),
            now: ground.view(now),
        };
        // What was handed on by rules of before is still connected to where that proxy was.
        let proxies = before.config.proxies.values();
        let proxies: Vec<_> = proxies.flat_map(Proxy::addresses).collect();
        let seen = self.look_past(&change.now, &proxies)?;
        let suspects = seen.suspects.iter().flat_map(|(_, sockets)| sockets);
        let inodes = suspects.map(|socket| socket.inode).collect();
        let with_executables =
            before.tables.asks_for_executables() || now.tables.asks_for_executables();
        let owners = self.owners(inodes, with_executables);
        let refused = seen.suspects.iter().flat_map(|(around, sockets)| {
            let sockets = sockets.iter();
            sockets.filter_map(|socket| change.refuses(around, socket, &owners))
        });
        Ok(close::close(
            refused.collect(),
            &Which::default(),
            Cause::Reload,
            &self.data.sink,
        ))
    }

    /// What the kernel lists that is suspect to `view`, in each network namespace that somebody uses.
    /// What is connected to `proxies` is left out, as to those of now.
    fn look_past(&self, view: &View<'_>, proxies: &[SocketAddr]) -> Result<Seen, KernelError> {
        let now = self.redirector.proxies();
        let mut listeners = self.past.listeners.clone();
        listeners.extend(proxies);
        let proxies_in = |netns: Option<u64>| {
            let there = now.iter().filter(move |proxy| proxy.netns == netns);
            there.map(|proxy| proxy.address)
        };
        listeners.extend(proxies_in(None));
        let own = &self.data.namespace;
        let mut kinds = Kinds::default();
        let mut suspects = Vec::new();
        let mut take = |listed: Listed| {
            kinds.extend(listed.kinds);
            let (around, mut connected) = (listed.around, listed.connected);
            connected.retain(|socket| view.is_suspect(&around, socket));
            suspects.push((around, connected));
        };
        take(Listed::inside(own, None, listeners)?);
        let mut places = self.namespaces.places(own);
        for mut place in places.all {
            place.listeners.extend(proxies);
            place.listeners.extend(proxies_in(place.namespace.other()));
            match Listed::inside(&place.namespace, Some(place.found), place.listeners) {
                Ok(listed) => take(listed),
                Err(error) => places.unseen.push(error.to_string()),
            }
        }
        Ok(Seen {
            suspects,
            kinds,
            unseen: places.unseen,
        })
    }

    fn ground(&self) -> Ground<'_> {
        let proxies = self.redirector.proxies();
        let cgroups = proxies.iter().filter_map(|proxy| proxy.cgroup.as_deref());
        Ground {
            own: self.redirector.own_cgroup(),
            top: cgroup::below(&self.mount, &self.governed),
            proxies: cgroups
                .map(|path| cgroup::below(&self.mount, path))
                .collect(),
            older: self.past.older.get(),
            none: HashSet::new(),
        }
    }

    /// Closes what goes past the redirect.
    pub fn close_uncovered(&self, which: &Which) -> Result<Outcome, KernelError> {
        let uncovered = self.past_redirect()?.uncovered;
        let outcome = close::close(uncovered, which, Cause::Asked, &self.data.sink);
        tracing::info!(
            closed = outcome.closed.len(),
            left = outcome.left,
            dry_run = which.dry_run,
            "was asked to close connections past the redirect"
        );
        Ok(outcome)
    }

    fn owners(&self, inodes: HashSet<u32>, with_executables: bool) -> Owners {
        if inodes.is_empty() {
            return Owners::default();
        }
        let mut known: HashMap<u32, Option<Holder>> = HashMap::new();
        let mut who = |pid| {
            let holder = known
                .entry(pid)
                .or_insert_with(|| self.holder(pid, with_executables));
            holder.clone()
        };
        Owners {
            cgroups: cgroup::by_id(&self.mount),
            holders: process::all_holders(&inodes)
                .into_iter()
                .map(|(inode, pids)| (inode, pids.into_iter().filter_map(&mut who).collect()))
                .collect(),
        }
    }

    fn holder(&self, pid: u32, with_executables: bool) -> Option<Holder> {
        let folder = process::cgroup_of(&self.mount, pid).ok()?;
        Some(Holder {
            pid,
            command: process::command(pid),
            cgroup: cgroup::below(&self.mount, &folder),
            uid: process::uid(pid)?,
            gid: process::gid(pid)?,
            exe: match with_executables {
                true => executable::of_process(pid).ok().flatten(),
                false => None,
            },
        })
    }
}

/// The ports that the kernel gives to clients in this network namespace.
fn ephemeral() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text
        .split_ascii_whitespace()
        .filter_map(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(first), Some(last)) => first..=last,
        // The kernel's own default.
        _ => 32768..=60999,
    }
}
