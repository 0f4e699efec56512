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
    config::Existing,
    kernel::{KernelError, cgroup, process, sockdiag},
    uncovered::{
        Holder, Owners, Uncovered, View,
        close::{self, Outcome, Which},
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
        let outcome = close::close(uncovered, &Which::default(), &self.data.sink);
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

    /// Asks the kernel what goes past the redirect, in the daemon's network namespace. Reads the
    /// descriptors of all processes if something may.
    pub fn past_redirect(&self) -> Result<PastRedirect, KernelError> {
        let listing = |error| {
            KernelError::new(
                "listing sockets by sock_diag",
                "it needs CONFIG_INET_DIAG",
                error,
            )
        };
        // The sockets first: one that is accepted meanwhile finds its listener.
        let sockets = sockdiag::connected().map_err(listing)?;
        let listening = sockdiag::listening_ports().map_err(listing)?;
        let proxies = self.redirector.proxies();
        let mut listeners = self.past.listeners.clone();
        listeners.extend(proxies.iter().map(|proxy| proxy.address));
        let proxies = proxies.iter().filter_map(|proxy| proxy.cgroup.as_deref());
        let top = cgroup::below(&self.mount, &self.governed);
        let policy = self.data.policy.load();
        let none = HashSet::new();
        let view = View {
            policy: &policy,
            own: self.redirector.own_cgroup(),
            pid: std::process::id(),
            netns: self.redirector.netns(),
            top: &top,
            proxies: &proxies
                .map(|path| cgroup::below(&self.mount, path))
                .collect(),
            listeners: &listeners,
            listening: &listening,
            ephemeral: ephemeral(),
            older: self.past.older.get().unwrap_or(&none),
        };
        let kinds = Kinds::look();
        let suspects: Vec<_> = sockets
            .iter()
            .filter(|socket| view.is_suspect(socket))
            .collect();
        let inodes = suspects.iter().map(|socket| socket.inode);
        let owners = self.owners(inodes.chain(kinds.inodes()).collect());
        Ok(PastRedirect {
            uncovered: suspects
                .into_iter()
                .filter_map(|socket| view.judge(socket, &owners))
                .collect(),
            kinds: kinds.of_governed(&owners.holders, |path| view.governs(path)),
        })
    }

    /// Closes what goes past the redirect.
    pub fn close_uncovered(&self, which: &Which) -> Result<Outcome, KernelError> {
        let uncovered = self.past_redirect()?.uncovered;
        let outcome = close::close(uncovered, which, &self.data.sink);
        tracing::info!(
            closed = outcome.closed.len(),
            left = outcome.left,
            dry_run = which.dry_run,
            "was asked to close connections past the redirect"
        );
        Ok(outcome)
    }

    fn owners(&self, inodes: HashSet<u32>) -> Owners {
        if inodes.is_empty() {
            return Owners::default();
        }
        let mut known: HashMap<u32, Option<Holder>> = HashMap::new();
        let mut who = |pid| {
            let holder = known.entry(pid).or_insert_with(|| self.holder(pid));
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

    fn holder(&self, pid: u32) -> Option<Holder> {
        let folder = process::cgroup_of(&self.mount, pid).ok()?;
        Some(Holder {
            pid,
            command: process::command(pid),
            cgroup: cgroup::below(&self.mount, &folder),
            uid: process::uid(pid)?,
            gid: process::gid(pid)?,
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
