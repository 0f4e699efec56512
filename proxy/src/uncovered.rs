//! Connections past the redirect: sockets of governed applications that are connected to where a
//! rule would have redirected or denied them.
//!
//! The programs see connect() and nothing else. What was connected before they were there, in a
//! cgroup of which they know nothing, or with their leave, goes on as it is: the kernel's list of
//! sockets shows it, and the same decision tells which rule it is past.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
};

use serde::Serialize;
use sidetrack_abi::{
    Redirected, Verdict,
    decision::Tables as _,
    executable::NO_EXECUTABLE,
    rules::{ACTION_PLAIN, ACTION_REDIRECT, FAIL_PASS, RULE_UNCLASSIFIED, Rule},
};

use crate::{
    addr::OriginalDst,
    config::Protocol,
    kernel::{cgroup::is_within, rules::Task, sockdiag::Connected},
    netns::Namespace,
    policy::Policy,
};

pub mod changed;
pub mod close;
pub mod kinds;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Its cgroup, as a path below the cgroup2 root.
    pub cgroup: String,
    /// Its real user, by which the programs select.
    pub uid: u32,
    /// Its real group.
    pub gid: u32,
    /// Its executable, if a selection asks for executables and it has one that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// Why a socket is likely to be past the redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It was connected when this daemon started.
    OlderThanDaemon,
    /// It was made in a cgroup outside the attach point, whose programs it does not run.
    BornOutside,
    /// Who has it now is in another cgroup than it was made in.
    Moved,
    /// It is bound to a device, and the rule lets such connections go direct.
    DeviceBound,
    /// Its rule has `fail = "pass"`.
    FailOpen,
    /// It may have been accepted: its port is not one that the kernel gives to clients.
    PerhapsAccepted,
    /// No process is seen that has it open, and it was made in the root cgroup, as the kernel's
    /// own are.
    NobodyHasIt,
    /// None of these.
    OlderThanRule,
}

impl Why {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::OlderThanDaemon => "it was connected when this daemon started",
            Self::BornOutside => "it was made in a cgroup outside the attach point",
            Self::Moved => "it was made in another cgroup than its process is in",
            Self::DeviceBound => "it is bound to a device, and its rule lets such go direct",
            Self::FailOpen => "its rule has fail = \"pass\", and no listener of ours was there",
            Self::PerhapsAccepted => {
                "its port is none that the kernel gives to clients: it bound it, or was accepted"
            }
            Self::NobodyHasIt => "no process is seen that has it open: it may be the kernel's own",
            Self::OlderThanRule => "it was connected before the rule was in force",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One socket past the redirect.
#[derive(Clone, Debug, Serialize)]
pub struct Uncovered {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Its own end.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: OriginalDst,
    /// The rule that would hold.
    pub rule: Option<String>,
    /// See [`Why`].
    pub why: Why,
    /// The same in words.
    pub explanation: &'static str,
    /// The cgroup that it was made in; absent if it is gone.
    pub born: Option<String>,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// How its network namespace was found, as `status` has it; absent in the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    #[serde(skip)]
    inside: Namespace,
    #[serde(skip)]
    socket: Connected,
}

impl Uncovered {
    /// Whether it may be closed: what was accepted, or is the kernel's own, is nobody's connect()
    /// to be made again.
    pub fn may_be_closed(&self) -> bool {
        !matches!(self.why, Why::PerhapsAccepted | Why::NobodyHasIt)
    }

    /// What no other socket has.
    pub fn cookie(&self) -> u64 {
        self.socket.cookie
    }

    /// Whether it is in the network namespace of this name: `host` for the daemon's own, else the
    /// cookie, or what `status` shows.
    pub fn is_in(&self, name: &str) -> bool {
        match (&self.namespace, self.netns) {
            (Some(found), Some(netns)) => found == name || netns.to_string() == name,
            _ => name == "host",
        }
    }
}

/// What a socket is judged by.
pub struct View<'a> {
    /// The rules and their names.
    pub policy: &'a Policy,
    /// The proxy's own cgroup; 0 if it has none.
    pub own: u64,
    /// Its process.
    pub pid: u32,
    /// The attach point, as a path below the cgroup2 root.
    pub top: &'a str,
    /// Paths of the cgroups of others' proxies, which no `redirect` rule redirects.
    pub proxies: &'a HashSet<String>,
    /// Sockets that were there when the daemon started.
    pub older: &'a HashSet<u64>,
}

/// What there is around sockets in their network namespace.
#[derive(Debug)]
pub struct Surroundings {
    /// Which it is.
    pub namespace: Namespace,
    /// How it was found; none in the daemon's own.
    pub found: Option<String>,
    /// Where redirected sockets are connected to.
    pub listeners: HashSet<SocketAddr>,
    /// Ports on which something listens.
    pub listening: HashSet<u16>,
    /// The ports that the kernel gives to clients.
    pub ephemeral: RangeInclusive<u16>,
}

/// Who is behind sockets.
#[derive(Default)]
pub struct Owners {
    /// Paths of cgroups by their ids.
    pub cgroups: HashMap<u64, String>,
    /// Processes by the inodes of their sockets.
    pub holders: HashMap<u32, Vec<Holder>>,
}

impl Owners {
    fn of(&self, socket: &Connected) -> &[Holder] {
        self.holders
            .get(&socket.inode)
            .map_or(&[], |holders| holders)
    }
}

/// Who is judged for a socket.
struct Tasks<'o> {
    /// Each process that has it open, if the programs run for it.
    holders: Vec<Task<'o>>,
    /// The same in the cgroup that it was made in; if nobody has it open, a task of which no more is
    /// known than that.
    birth: Vec<Task<'o>>,
}

impl View<'_> {
    /// Whether it is worth finding out whose it is: some rule names its destination, and it is no part of
    /// an interception itself, with these listeners.
    pub fn is_suspect(&self, listeners: &HashSet<SocketAddr>, socket: &Connected) -> bool {
        let to = OriginalDst::new(socket.to).get();
        let ours = self.own != 0 && socket.cgroup == self.own;
        !ours
            && !listeners.contains(&to)
            && self
                .policy
                .tables
                .destination_class(&to.ip().into())
                .is_some()
    }

    /// Judges one socket; `None` if no rule is past.
    pub fn judge(
        &self,
        around: &Surroundings,
        socket: &Connected,
        owners: &Owners,
    ) -> Option<Uncovered> {
        let tasks = self.tasks(around, socket, owners)?;
        let mut all = tasks.holders.iter().chain(&tasks.birth);
        let rule = all.find_map(|task| self.past(socket, task))?;
        Some(self.uncovered(around, socket, owners, &rule))
    }

    /// Who would be judged if it connected there now. `None` if the socket is the daemon's own.
    fn tasks<'o>(
        &self,
        around: &Surroundings,
        socket: &Connected,
        owners: &'o Owners,
    ) -> Option<Tasks<'o>> {
        let born = owners.cgroups.get(&socket.cgroup);
        let holders = owners.of(socket);
        if holders.iter().any(|holder| holder.pid == self.pid) {
            return None;
        }
        let born_inside = born.is_some_and(|path| self.governs(path));
        // The programs run by the socket's cgroup and judge by the task's. A process outside with
        // a socket of a cgroup inside is judged too.
        let of_holders = holders
            .iter()
            .filter(|holder| born_inside || self.governs(&holder.cgroup))
            .map(|holder| Task {
                cgroup: &holder.cgroup,
                uid: holder.uid,
                gid: Some(holder.gid),
                executable: self.executable(holder),
                netns: Some(around.namespace.cookie()),
            });
        let born_as = |uid, gid, executable| {
            born.filter(|_| born_inside).map(|cgroup| Task {
                cgroup,
                uid,
                gid,
                executable,
                netns: Some(around.namespace.cookie()),
            })
        };
        // It was one of them that made it, as far as can be seen: what selects or excludes by user
        // and executable is said of them there too.
        let of_birth = holders
            .iter()
            .filter_map(|holder| born_as(holder.uid, Some(holder.gid), self.executable(holder)));
        let unseen = holders.is_empty();
        let of_nobody = unseen.then(|| born_as(socket.uid, None, NO_EXECUTABLE));
        Some(Tasks {
            holders: of_holders.collect(),
            birth: of_birth.chain(of_nobody.flatten()).collect(),
        })
    }

    fn uncovered(
        &self,
        around: &Surroundings,
        socket: &Connected,
        owners: &Owners,
        rule: &Rule,
    ) -> Uncovered {
        let born = owners.cgroups.get(&socket.cgroup);
        let holders = owners.of(socket);
        let why = self.why(around, socket, rule, born, holders);
        Uncovered {
            protocol: socket.protocol.label(),
            source: socket.from,
            destination: OriginalDst::new(socket.to),
            rule: self.name(rule),
            why,
            explanation: why.text(),
            born: born.cloned(),
            holders: holders.to_vec(),
            namespace: around.found.clone(),
            netns: around.namespace.other(),
            inside: around.namespace.clone(),
            socket: socket.clone(),
        }
    }

    /// Whether a cgroup is at or below the attach point.
    pub fn governs(&self, path: &str) -> bool {
        is_within(path, self.top)
    }

    fn executable(&self, holder: &Holder) -> u32 {
        let tables = &self.policy.tables;
        let path = holder.exe.as_deref();
        path.map_or(NO_EXECUTABLE, |path| tables.executable(path))
    }

    /// The rule that `task` would meet if it connected there now.
    fn past(&self, socket: &Connected, task: &Task<'_>) -> Option<Rule> {
        let tables = &self.policy.tables;
        let selection = tables.selection(task);
        match tables.decide(socket.protocol, OriginalDst::new(socket.to), selection) {
            Verdict::Redirect(rule)
                if rule.action == ACTION_REDIRECT && self.proxies.contains(task.cgroup) =>
            {
                None
            }
            // It has appeared just now, and may be one that no rule is for.
            Verdict::Redirect(rule)
                if rule.index == RULE_UNCLASSIFIED
                    && task
                        .netns
                        .is_some_and(|cookie| !tables.knows_namespace(cookie)) =>
            {
                None
            }
            Verdict::Redirect(rule) | Verdict::Deny(rule) => Some(rule),
            Verdict::Unmatched | Verdict::Ignore(_) | Verdict::Pass(_) => None,
        }
    }

    fn name(&self, rule: &Rule) -> Option<String> {
        let decided = Redirected {
            rule: rule.index,
            generation: self.policy.generation,
            ..Redirected::default()
        };
        self.policy.rule_name(&decided).map(|name| name.to_string())
    }

    fn why(
        &self,
        around: &Surroundings,
        socket: &Connected,
        rule: &Rule,
        born: Option<&String>,
        holders: &[Holder],
    ) -> Why {
        if holders.is_empty() && born.is_none_or(|path| path == "/") {
            Why::NobodyHasIt
        } else if socket.protocol == Protocol::Tcp
            && !around.ephemeral.contains(&socket.from.port())
        {
            Why::PerhapsAccepted
        } else if self.older.contains(&socket.cookie) {
            Why::OlderThanDaemon
        } else if born.is_none_or(|path| !self.governs(path)) {
            Why::BornOutside
        } else if !holders.is_empty() && holders.iter().all(|holder| Some(&holder.cgroup) != born) {
            Why::Moved
        } else if socket.device != 0 && (rule.action == ACTION_PLAIN || rule.fail == FAIL_PASS) {
            Why::DeviceBound
        } else if rule.fail == FAIL_PASS {
            Why::FailOpen
        } else {
            Why::OlderThanRule
        }
    }
}

impl Surroundings {
    /// By its port, where something listens still.
    pub fn accepted(&self, socket: &Connected) -> bool {
        socket.protocol == Protocol::Tcp && self.listening.contains(&socket.from.port())
    }
}

#[cfg(test)]
mod tests;
