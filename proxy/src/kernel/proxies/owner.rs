//! Whose a listening socket is, and whether connections may be sent to it.
//!
//! What a proxy connects to is not sent back to it: its cgroup is what tells its connections from
//! those of applications. So nobody else may be in that cgroup, or he would go past the rule too.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    net::{ipproto, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{
    Unfit,
    process::{self, Holder},
};
use crate::kernel::{Family, cgroup, sockdiag::Listening};

/// Whose a listening socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Those that are known to have it. Never empty.
    holders: Vec<Holder>,
    /// The one cgroup of all its processes, in which the socket was made too.
    pub(super) cgroup: PathBuf,
    pub(super) cgroup_id: u64,
    pub(super) executable: String,
    /// Nobody would accept.
    pub(super) stopped: bool,
}

impl Owner {
    /// One of its processes.
    pub(super) fn pid(&self) -> u32 {
        self.holders.first().map_or(0, |holder| holder.pid)
    }

    /// The owner of the same socket now, from what was known of it; `None` if that tells too
    /// little. A proxy has many descriptors, and few of them are looked at here.
    pub(super) fn again(
        self,
        socket: &Listening,
        hierarchy: &Hierarchy,
    ) -> Option<Result<Self, Unfit>> {
        let mut holders = self.holders;
        holders.retain(|holder| process::holds(*holder, socket.inode));
        let known = judge(socket, holders, hierarchy);
        match known {
            Ok(_) => Some(known),
            // Processes that have come since may have the socket too.
            Err(_) => {
                let pids = cgroup::members(&self.cgroup);
                let found = find(socket, &pids, hierarchy);
                (found != Err(Unfit::NoOwner)).then_some(found)
            }
        }
    }
}

/// Where cgroups are.
#[derive(Clone, Debug)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    pub(super) governed: PathBuf,
}

/// The socket to which the kernel gives a connection to the loopback address of `family`. Of
/// several that share the port it is the one with the cookie `known`, if that is among them.
///
/// # Errors
/// [`Unfit::SharedPort`] if there are several and they are of several cgroups.
pub(super) fn listener(
    sockets: &[Listening],
    family: Family,
    port: u16,
    known: u64,
) -> Result<Option<&Listening>, Unfit> {
    let precedence = |socket: &Listening| {
        if socket.at.port() != port {
            return None;
        }
        match (family, socket.at.ip().to_canonical()) {
            (Family::V4, IpAddr::V4(Ipv4Addr::LOCALHOST))
            | (Family::V6, IpAddr::V6(Ipv6Addr::LOCALHOST)) => Some(0),
            (Family::V4, IpAddr::V4(Ipv4Addr::UNSPECIFIED))
            | (Family::V6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Some(1),
            (Family::V4, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) if !socket.v6_only => Some(2),
            _ => None,
        }
    };
    let Some(best) = sockets.iter().filter_map(precedence).min() else {
        return Ok(None);
    };
    let of_best: Vec<&Listening> = sockets
        .iter()
        .filter(|socket| precedence(socket) == Some(best))
        .collect();
    let known = of_best.iter().find(|socket| socket.cookie == known);
    let chosen = known.or_else(|| of_best.first()).copied();
    if chosen.is_some_and(|chosen| of_best.iter().any(|other| other.cgroup != chosen.cgroup)) {
        return Err(Unfit::SharedPort);
    }
    Ok(chosen)
}

/// Finds the owner among `pids`, and judges it.
pub(super) fn find(
    socket: &Listening,
    pids: &[u32],
    hierarchy: &Hierarchy,
) -> Result<Owner, Unfit> {
    judge(socket, process::holders(socket.inode, pids), hierarchy)
}

fn judge(
    socket: &Listening,
    mut holders: Vec<Holder>,
    hierarchy: &Hierarchy,
) -> Result<Owner, Unfit> {
    let mut folders = Vec::with_capacity(holders.len());
    holders.retain(|holder| {
        // One that has ended meanwhile has it open no more.
        let folder = process::cgroup_of(&hierarchy.mount, holder.pid).ok();
        folder.map(|folder| folders.push(folder)).is_some()
    });
    let (Some(pid), Some(folder)) = (
        holders.first().map(|holder| holder.pid),
        folders.first().cloned(),
    ) else {
        return Err(Unfit::NoOwner);
    };
    for (holder, elsewhere) in holders.iter().zip(folders) {
        if elsewhere != folder {
            return Err(Unfit::SharedSocket {
                pid: holder.pid,
                executable: process::executable(holder.pid),
                cgroup: elsewhere,
            });
        }
    }
    if hierarchy.governed.starts_with(&folder) {
        return Err(Unfit::HoldsGoverned {
            pid,
            cgroup: folder,
        });
    }
    if cgroup::id(&folder).ok() != Some(socket.cgroup) {
        return Err(Unfit::Moved {
            pid,
            cgroup: folder,
        });
    }
    alone(&folder, &holders)?;
    let runs = |holder: &Holder| process::stat(holder.pid).is_some_and(|stat| !stat.stopped);
    Ok(Owner {
        cgroup_id: socket.cgroup,
        executable: process::executable(pid),
        stopped: !holders.iter().any(runs) || cgroup::is_frozen(&folder),
        holders,
        cgroup: folder,
    })
}

/// Everybody in the cgroup has the listening socket, or descends from one who has: the proxy's
/// workers and helpers, and nobody's application.
fn alone(folder: &Path, holders: &[Holder]) -> Result<(), Unfit> {
    let members = cgroup::members(folder);
    let stranger = |pid: &&u32| **pid == 0 || !belongs(**pid, holders);
    if let Some(pid) = members.iter().find(stranger) {
        return Err(Unfit::SharedCgroup {
            pid: *pid,
            executable: process::executable(*pid),
            cgroup: folder.into(),
        });
    }
    if let Some(pid) = cgroup::processes_below(folder).first() {
        return Err(Unfit::Below {
            pid: *pid,
            executable: process::executable(*pid),
            cgroup: folder.into(),
        });
    }
    Ok(())
}

fn belongs(pid: u32, holders: &[Holder]) -> bool {
    /// No line of descent is this long but one that was read while it changed.
    const GENERATIONS: usize = 64;
    let mut line = pid;
    for _ in 0..GENERATIONS {
        if holders.iter().any(|holder| holder.pid == line) {
            return true;
        }
        match process::stat(line) {
            Some(stat) if stat.parent > 1 => line = stat.parent,
            // It has ended since the list was read.
            None if line == pid => return true,
            _ => return false,
        }
    }
    false
}

/// A descriptor of the very socket. Whoever holds it keeps the socket open: it must be dropped as
/// soon as the socket is registered, or the entry would outlive the proxy.
pub(super) fn take(owner: &Owner, socket: &Listening) -> Result<OwnedFd, Unfit> {
    let pid = owner.pid();
    let replaced = Unfit::Replaced { pid };
    let Some(holder) = owner.holders.first() else {
        return Err(replaced);
    };
    let untakeable = |error: rustix::io::Errno| Unfit::Untakeable {
        pid,
        error: error.to_string(),
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = process else {
        return Err(replaced);
    };
    let process = pidfd_open(process, PidfdFlags::empty()).map_err(untakeable)?;
    let taken =
        pidfd_getfd(&process, holder.descriptor, PidfdGetfdFlags::empty()).map_err(untakeable)?;
    // The process may have closed it, and its id may be another process's by now.
    let same = sockopt::socket_cookie(&taken) == Ok(socket.cookie)
        && sockopt::socket_acceptconn(&taken) == Ok(true)
        && sockopt::socket_protocol(&taken) == Ok(Some(ipproto::TCP));
    if same { Ok(taken) } else { Err(replaced) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(at: &str, cgroup: u64, v6_only: bool) -> Listening {
        Listening {
            at: at.parse().unwrap(),
            v6_only,
            cgroup,
            uid: 0,
            inode: 0,
            cookie: 0,
        }
    }

    #[test]
    fn the_socket_is_the_one_that_the_kernel_would_choose() {
        let all = [
            socket("[::]:80", 1, false),
            socket("0.0.0.0:80", 2, false),
            socket("127.0.0.1:80", 3, false),
            socket("[::1]:81", 4, false),
            socket("127.0.0.2:82", 5, false),
        ];
        let chosen = |sockets, family, port| {
            listener(sockets, family, port, 0)
                .unwrap()
                .map(|socket| socket.cgroup)
        };
        assert_eq!(chosen(&all, Family::V4, 80), Some(3));
        assert_eq!(chosen(&all[..2], Family::V4, 80), Some(2));
        assert_eq!(chosen(&all[..1], Family::V4, 80), Some(1));
        assert_eq!(chosen(&all, Family::V6, 80), Some(1));
        assert_eq!(chosen(&all, Family::V4, 81), None);
        assert_eq!(chosen(&all, Family::V4, 82), None);
        let v6_only = [socket("[::]:80", 1, true)];
        assert_eq!(chosen(&v6_only, Family::V4, 80), None);
    }

    #[test]
    fn a_port_that_several_cgroups_share_is_nobodys() {
        let of_one = [
            socket("127.0.0.1:80", 1, false),
            socket("127.0.0.1:80", 1, false),
        ];
        assert!(listener(&of_one, Family::V4, 80, 0).unwrap().is_some());
        let of_two = [
            socket("127.0.0.1:80", 1, false),
            socket("127.0.0.1:80", 2, false),
        ];
        assert_eq!(listener(&of_two, Family::V4, 80, 0), Err(Unfit::SharedPort));
    }
}
