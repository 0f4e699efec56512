//! Attaching and what is attached.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use sidetrack_abi::names::program;

use super::{
    KernelError,
    load::Programs,
    pins::{PinError, Pins},
    sys::link::{self, LinkTarget},
};

pub mod holder;
pub mod planned;

/// Where to attach.
#[derive(Clone, Debug)]
pub struct Points {
    /// The cgroup whose tasks are governed.
    pub governed: PathBuf,
    /// The proxy's own cgroup, if there is a proxy.
    pub proxy: Option<PathBuf>,
    /// Whether connections from outside are steered.
    pub inbound: bool,
    /// Whether that holds in other network namespaces too: what steers there already stays.
    pub elsewhere: bool,
}

/// `enum bpf_attach_type` of each program, include/uapi/linux/bpf.h.
pub(super) const CGROUP_PROGRAMS: [(&str, u32); 8] = [
    (program::CONNECT4, 10),
    (program::CONNECT6, 11),
    (program::SENDMSG4, 14),
    (program::SENDMSG6, 15),
    (program::GETPEERNAME4, 29),
    (program::GETPEERNAME6, 30),
    (program::GETSOCKNAME4, 31),
    (program::GETSOCKNAME6, 32),
];
pub(super) const SOCK_OPS: u32 = 3;
pub(super) const GETSOCKOPT: u32 = 21;
pub(super) const SK_LOOKUP: u32 = 36;

const OWN_NETNS: &str = "/proc/self/ns/net";

/// The programs whose links are pinned, with their hooks.
pub(super) fn every_pinned() -> impl Iterator<Item = (&'static str, u32)> {
    let others = [
        (program::SOCKOPS, SOCK_OPS),
        (program::SK_LOOKUP, SK_LOOKUP),
    ];
    CGROUP_PROGRAMS.into_iter().chain(others)
}

/// One program at one place.
pub(super) struct Attached {
    pub(super) program: &'static str,
    pub(super) attach_type: u32,
    pub(super) place: Place,
    pub(super) lasting: Lasting,
    pub(super) link: OwnedFd,
}

/// Where a program is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cgroup(PathBuf),
    /// This process's own.
    Netns,
    /// Another network namespace, by a file that shows it.
    Elsewhere {
        path: PathBuf,
        /// As `lsns` shows it.
        inode: u64,
    },
}

/// How long a link is to last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Until it is unpinned.
    Pinned,
    /// As long as the process: it is at the proxy's own cgroup.
    WithTheProcess,
}

/// Everything that is attached. What is not pinned is detached when this is dropped.
pub struct Attachment {
    pub(super) attached: Vec<Attached>,
}

impl Points {
    /// Programs and places in the order of attaching: the accepting side first, since once
    /// connect() redirects, its accepted sockets must already find their destination.
    pub(super) fn places(&self) -> Vec<(&'static str, u32, Place, Lasting)> {
        let governed = || Place::Cgroup(self.governed.clone());
        let mut places = Vec::new();
        if let Some(proxy) = &self.proxy {
            let proxy = |program, attach_type| {
                let place = Place::Cgroup(proxy.clone());
                (program, attach_type, place, Lasting::WithTheProcess)
            };
            if !self.proxy_is_governed() {
                places.push(proxy(program::SOCKOPS, SOCK_OPS));
            }
            places.push(proxy(program::GETSOCKOPT, GETSOCKOPT));
        }
        places.push((program::SOCKOPS, SOCK_OPS, governed(), Lasting::Pinned));
        for (name, attach_type) in CGROUP_PROGRAMS.iter().rev() {
            places.push((name, *attach_type, governed(), Lasting::Pinned));
        }
        if self.inbound {
            places.push((program::SK_LOOKUP, SK_LOOKUP, Place::Netns, Lasting::Pinned));
        }
        places
    }

    fn proxy_is_governed(&self) -> bool {
        self.proxy
            .as_ref()
            .is_some_and(|proxy| proxy.starts_with(&self.governed))
    }
}

impl Programs {
    /// Attaches everything. A link that is pinned at the right place gets this program in the
    /// place of its own, with no moment between them.
    pub(super) fn attach(
        &self,
        points: &Points,
        pins: Option<&Pins>,
    ) -> Result<Attachment, KernelError> {
        let mut attached: Vec<Attached> = Vec::new();
        let mut staged = Vec::new();
        for (name, attach_type, place, lasting) in points.places() {
            let pinned = pins.filter(|_| lasting == Lasting::Pinned);
            match self.attach_one(name, attach_type, &place, pinned) {
                Ok((link, pin)) => {
                    if pin == Pin::Staged {
                        staged.push(name);
                    }
                    attached.push(Attached {
                        program: name,
                        attach_type,
                        place,
                        lasting,
                        link,
                    });
                }
                Err(error) => {
                    if let Some(pins) = pins {
                        staged.iter().for_each(|name| pins.unstage_link(name));
                    }
                    return Err(error);
                }
            }
        }
        if let Some(pins) = pins {
            // Only now: as long as one is missing, those of before protect at their old place.
            for name in staged {
                pins.commit_link(name).map_err(pinning)?;
            }
            let kept: Vec<&str> = attached.iter().map(|one| one.program).collect();
            pins.keep_only(&kept, points.elsewhere).map_err(pinning)?;
        }
        Ok(Attachment { attached })
    }

    fn attach_one(
        &self,
        name: &'static str,
        attach_type: u32,
        place: &Place,
        pins: Option<&Pins>,
    ) -> Result<(OwnedFd, Pin), KernelError> {
        let program = self.program(name)?;
        let (file, target) = place.open(attach_type)?;
        if let Some(displaced) = place.displaced(attach_type) {
            tracing::warn!(program = name, "{displaced}");
        }
        if let Some(pins) = pins
            && let Some(found) = pins.link(name).map_err(pinning)?
            && link::link_info(found.as_fd()).is_ok_and(|info| info.target == target)
        {
            return link::update_link(found.as_fd(), program.as_fd())
                .map(|()| (found, Pin::Kept))
                .map_err(|error| attaching(name, attach_type, place, error));
        }
        let made = link::create_link(program.as_fd(), file.as_fd(), attach_type)
            .map_err(|error| attaching(name, attach_type, place, error))?;
        let Some(pins) = pins else {
            return Ok((made, Pin::None));
        };
        // To take the place of one that is somewhere else, or whose place is gone.
        pins.stage_link(name, &made).map_err(pinning)?;
        Ok((made, Pin::Staged))
    }

    /// Attaches to a cgroup of which this process is not the only user, for as long as the link
    /// is kept.
    pub(super) fn attach_to_cgroup(
        &self,
        name: &'static str,
        attach_type: u32,
        cgroup: &Path,
    ) -> Result<OwnedFd, KernelError> {
        let place = Place::Cgroup(cgroup.into());
        self.attach_one(name, attach_type, &place, None)
            .map(|(link, _)| link)
    }

    fn program(&self, name: &'static str) -> Result<&aya::programs::ProgramFd, KernelError> {
        let missing = |error: io::Error| {
            KernelError::new(
                format!("finding the program {name}"),
                "the BPF object and this binary are of different builds",
                error,
            )
        };
        self.bpf
            .program(name)
            .ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?
            .fd()
            .map_err(|error| missing(io::Error::other(error)))
    }

    pub(super) fn id(&self, name: &str) -> u32 {
        self.bpf
            .program(name)
            .and_then(|program| program.info().ok())
            .map(|info| info.id())
            .unwrap_or_default()
    }
}

/// How a link is pinned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pin {
    /// As before.
    Kept,
    /// Beside what is pinned under its name.
    Staged,
    /// Not at all.
    None,
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Cgroup(path) | Self::Elsewhere { path, .. } => path,
            Self::Netns => Path::new(OWN_NETNS),
        }
    }

    /// The place, and what a link there says of itself.
    pub(super) fn open(&self, attach_type: u32) -> Result<(File, LinkTarget), KernelError> {
        let failed = |error| {
            KernelError::new(
                format!("opening {}", self.path().display()),
                "the cgroup does not exist; compare intercept.cgroup with /proc/PID/cgroup",
                error,
            )
        };
        let file = File::open(self.path()).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let target = match self {
            Self::Cgroup(_) => LinkTarget::Cgroup {
                id: inode,
                attach_type,
            },
            Self::Netns | Self::Elsewhere { .. } => LinkTarget::Netns { inode, attach_type },
        };
        Ok((file, target))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // What redirects goes before what takes the redirected in: the order of attaching, reversed.
        while self.attached.pop().is_some() {}
    }
}

fn pinning(error: PinError) -> KernelError {
    KernelError::new(
        "pinning the programs",
        "`sidetrack detach` removes all pins of the instance",
        error,
    )
}

fn attaching(name: &str, attach_type: u32, place: &Place, error: io::Error) -> KernelError {
    let doing = format!("attaching {name} to {}", place.path().display());
    let held = match error.raw_os_error() {
        Some(libc::EPERM) => place.held(attach_type),
        _ => None,
    };
    match held {
        Some(held) => KernelError::new(
            doing,
            "have that tool attach with BPF_F_ALLOW_MULTI, or detach its program (`bpftool cgroup \
             detach`), or choose an intercept.cgroup that is neither that cgroup nor below it",
            held,
        ),
        None => KernelError::new(doing, "it needs CAP_NET_ADMIN", error),
    }
}
