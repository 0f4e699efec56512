//! Why connections are not sent to a proxy of others, and what to do.

use std::{net::SocketAddr, path::PathBuf};

const OWN_CGROUP: &str = "start it in a cgroup of its own: as a service of its own, or by \
                          `systemd-run --scope COMMAND`";

/// Why a listening socket does not get connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Nothing listens.
    #[error("nothing listens at {0}")]
    Absent(SocketAddr),
    /// Somebody else's socket.
    #[error(
        "the socket that listens there is of user {uid}; if that is the proxy's, name it as `user` \
         of the proxy, else end that process"
    )]
    WrongUser {
        /// Who made it.
        uid: u32,
    },
    /// Not where the configuration says.
    #[error(
        "its process {pid} is in {}, which is not in `cgroup` of the proxy; if that is the proxy's, \
         name it there, else end that process",
        cgroup.display()
    )]
    Elsewhere {
        /// Its process.
        pid: u32,
        /// Where that is.
        cgroup: PathBuf,
    },
    /// Sockets of several cgroups share the port.
    #[error(
        "sockets of several cgroups listen there (SO_REUSEPORT), and the kernel would spread \
         connections over all; end those that are not the proxy's"
    )]
    SharedPort,
    /// No process has it.
    #[error(
        "no process has the listening socket open that can be seen from here: that takes \
         CAP_SYS_PTRACE, and CAP_DAC_READ_SEARCH for processes that are not root's; a Go program's \
         MPTCP listener has none (GODEBUG=multipathtcp=0 makes it TCP)"
    )]
    NoOwner,
    /// Processes of several cgroups have it.
    #[error(
        "process {pid} ({executable}) in the cgroup {} has its listening socket open as well, so \
         that it would outlive the proxy; let the proxy open it by itself, without socket \
         activation, in a cgroup of its own",
        cgroup.display()
    )]
    SharedSocket {
        /// One of them.
        pid: u32,
        /// Its program.
        executable: String,
        /// Its cgroup.
        cgroup: PathBuf,
    },
    /// Its processes have left the cgroup in which the socket was made, and will be in forever.
    #[error(
        "its listening socket was made in another cgroup than {}, which its process {pid} is in \
         now; {OWN_CGROUP}",
        cgroup.display()
    )]
    Moved {
        /// Its process.
        pid: u32,
        /// Where that is.
        cgroup: PathBuf,
    },
    /// The root, or what has the attach point in it.
    #[error(
        "its process {pid} is in {}, which holds what is governed; {OWN_CGROUP}",
        cgroup.display()
    )]
    HoldsGoverned {
        /// Its process.
        pid: u32,
        /// Where that is.
        cgroup: PathBuf,
    },
    /// Others are in its cgroup.
    #[error(
        "process {pid} ({executable}) is in its cgroup {} too, is not a child of the proxy, and \
         would go past the rule with it; {OWN_CGROUP}",
        cgroup.display()
    )]
    SharedCgroup {
        /// Who; 0 for one of another pid namespace.
        pid: u32,
        /// Its program.
        executable: String,
        /// The cgroup.
        cgroup: PathBuf,
    },
    /// A part of it is in a cgroup below.
    #[error(
        "process {pid} ({executable}) is in a cgroup below its own, {}: what that one connects to \
         would come back to the proxy; {OWN_CGROUP}, without others below it",
        cgroup.display()
    )]
    Below {
        /// Who.
        pid: u32,
        /// Its program.
        executable: String,
        /// The proxy's cgroup.
        cgroup: PathBuf,
    },
    /// All its processes are stopped.
    #[error(
        "its process {pid} is stopped or frozen; `kill -CONT {pid}` or `systemctl thaw` lets it go on"
    )]
    Stopped {
        /// One of them.
        pid: u32,
    },
    /// The socket cannot be taken.
    #[error(
        "taking its listening socket from process {pid}: {error}; it needs CAP_SYS_PTRACE, and \
         pidfd_getfd(2) must not be filtered"
    )]
    Untakeable {
        /// Its process.
        pid: u32,
        /// What the kernel says.
        error: String,
    },
    /// It was closed or replaced meanwhile, or is of another kind.
    #[error("its process {pid} replaced the socket meanwhile; it is looked at again")]
    Replaced {
        /// Its process.
        pid: u32,
    },
    /// Something else that the kernel refused.
    #[error("{0}")]
    Kernel(String),
}

impl Unfit {
    /// Whether it is likely to be so at the next look too.
    pub(super) fn lasts(&self) -> bool {
        !matches!(self, Self::Replaced { .. })
    }

    /// One word of it, for `status`.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Absent(_) => "absent",
            Self::Stopped { .. } => "stopped",
            _ => "refused",
        }
    }
}
