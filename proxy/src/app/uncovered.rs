//! What goes past the redirect of this daemon: found, counted, and closed when that is asked for.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::OnceLock,
};

use super::App;
use crate::{
    config::{Existing, Proxy},
    kernel::{KernelError, cgroup, executable, process, sockdiag::Connected},
    policy::Policy,
    uncovered::{
        Holder, Owners, Surroundings, Uncovered, View,
        changed::Change,
        close::{self, Cause, Outcome, Which},
        kinds::NotCovered,
    },
};

mod look;

use look::Look;

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
        let seen = self.look_past(&Look {
            is_suspect: &|listeners, socket| view.is_suspect(listeners, socket),
            proxies: &[],
            kinds: true,
        })?;
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
        // Most reloads ask no more of what is there: then it stays at the lists.
        let seen = self.look_past(&Look {
            is_suspect: &|listeners, socket| {
                change.could_refuse(socket) && change.now.is_suspect(listeners, socket)
            },
            proxies: &proxies,
            kinds: false,
        })?;
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
