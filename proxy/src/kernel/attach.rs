//! Attaching and what is attached.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, CgroupSockopt, SkLookup, SockOps,
    cgroup_sock_addr::CgroupSockAddrLink, cgroup_sockopt::CgroupSockoptLink,
    sk_lookup::SkLookupLink, sock_ops::SockOpsLink,
};
use serde::Serialize;
use sidetrack_abi::names::program;

use super::{KernelError, load::Programs, sys};

/// Where to attach.
#[derive(Clone, Debug)]
pub struct Points {
    /// The cgroup whose tasks are governed.
    pub governed: PathBuf,
    /// The proxy's own cgroup.
    pub proxy: PathBuf,
    /// Whether connections from outside are steered.
    pub inbound: bool,
}

/// `enum bpf_attach_type` of each program, include/uapi/linux/bpf.h.
pub(super) const CGROUP_PROGRAMS: [(&str, u32); 6] = [
    (program::CONNECT4, 10),
    (program::CONNECT6, 11),
    (program::GETPEERNAME4, 29),
    (program::GETPEERNAME6, 30),
    (program::GETSOCKNAME4, 31),
    (program::GETSOCKNAME6, 32),
];
pub(super) const SOCK_OPS: u32 = 3;
pub(super) const GETSOCKOPT: u32 = 21;
pub(super) const SK_LOOKUP: u32 = 36;

/// Held for their drop alone.
#[expect(dead_code, reason = "a link detaches when it is dropped")]
enum Link {
    SockAddr(CgroupSockAddrLink),
    SockOps(SockOpsLink),
    Sockopt(CgroupSockoptLink),
    Lookup(SkLookupLink),
}

/// What was attached where.
struct Attached {
    program: &'static str,
    attach_type: u32,
    place: Place,
    _link: Link,
}

#[derive(Clone)]
enum Place {
    Cgroup(PathBuf),
    Netns,
}

/// Everything that is attached; detached when dropped.
pub struct Attachment {
    attached: Vec<Attached>,
}

/// What the kernel says of one program of ours.
#[derive(Clone, Debug, Serialize)]
pub struct Effective {
    /// Its name.
    pub program: &'static str,
    /// The cgroup, or `netns`.
    pub place: String,
    /// Whether the kernel runs it there.
    pub effective: bool,
    /// Ids of all programs that run there, in their order, with those of others.
    pub order: Vec<u32>,
    /// Our program's id.
    pub id: u32,
}

impl Programs {
    pub(super) fn attach(&mut self, points: &Points) -> Result<Attachment, KernelError> {
        let governed = open(&points.governed)?;
        let proxy = open(&points.proxy)?;
        let mut attached = Vec::new();
        // The proxy's side first: once connect() redirects, its accepted sockets must already
        // find their destination.
        if !points.proxy.starts_with(&points.governed) {
            attached.push(self.attach_sock_ops(&proxy, &points.proxy)?);
        }
        attached.push(self.attach_sock_ops(&governed, &points.governed)?);
        attached.push(self.attach_sockopt(&proxy, &points.proxy)?);
        for (name, attach_type) in CGROUP_PROGRAMS.iter().rev() {
            attached.push(self.attach_sock_addr(
                name,
                *attach_type,
                &governed,
                &points.governed,
            )?);
        }
        if points.inbound {
            attached.push(self.attach_lookup()?);
        }
        Ok(Attachment { attached })
    }

    fn attach_sock_ops(&mut self, cgroup: &File, path: &Path) -> Result<Attached, KernelError> {
        let program: &mut SockOps = self.program(program::SOCKOPS)?;
        let link = program
            .attach(cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(|error| attaching(program::SOCKOPS, path, error))?;
        Ok(Attached {
            program: program::SOCKOPS,
            attach_type: SOCK_OPS,
            place: Place::Cgroup(path.into()),
            _link: Link::SockOps(link),
        })
    }

    fn attach_sockopt(&mut self, cgroup: &File, path: &Path) -> Result<Attached, KernelError> {
        let program: &mut CgroupSockopt = self.program(program::GETSOCKOPT)?;
        let link = program
            .attach(cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(|error| attaching(program::GETSOCKOPT, path, error))?;
        Ok(Attached {
            program: program::GETSOCKOPT,
            attach_type: GETSOCKOPT,
            place: Place::Cgroup(path.into()),
            _link: Link::Sockopt(link),
        })
    }

    fn attach_sock_addr(
        &mut self,
        name: &'static str,
        attach_type: u32,
        cgroup: &File,
        path: &Path,
    ) -> Result<Attached, KernelError> {
        let program: &mut CgroupSockAddr = self.program(name)?;
        // `Single` on a link still lets others attach beside it: links are always "multi".
        let link = program
            .attach(cgroup, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(|error| attaching(name, path, error))?;
        Ok(Attached {
            program: name,
            attach_type,
            place: Place::Cgroup(path.into()),
            _link: Link::SockAddr(link),
        })
    }

    fn attach_lookup(&mut self) -> Result<Attached, KernelError> {
        let netns = open(Path::new("/proc/self/ns/net"))?;
        let program: &mut SkLookup = self.program(program::SK_LOOKUP)?;
        let link = program
            .attach(&netns)
            .and_then(|id| program.take_link(id))
            .map_err(|error| {
                attaching(program::SK_LOOKUP, Path::new("/proc/self/ns/net"), error)
            })?;
        Ok(Attached {
            program: program::SK_LOOKUP,
            attach_type: SK_LOOKUP,
            place: Place::Netns,
            _link: Link::Lookup(link),
        })
    }

    pub(super) fn program<'a, P>(&'a mut self, name: &'static str) -> Result<P, KernelError>
    where
        P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
    {
        let missing = || {
            KernelError::new(
                format!("finding the program {name}"),
                "the BPF object and this binary are of different builds",
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        };
        let program = self.bpf.program_mut(name).ok_or_else(missing)?;
        P::try_from(program).map_err(|_| missing())
    }

    pub(super) fn id(&self, name: &str) -> u32 {
        self.bpf
            .program(name)
            .and_then(|program| program.info().ok())
            .map(|info| info.id())
            .unwrap_or_default()
    }
}

impl Attachment {
    pub(super) fn effective(&self, programs: &Programs) -> Vec<Effective> {
        self.attached
            .iter()
            .map(|attached| {
                let (path, place, cgroup) = match &attached.place {
                    Place::Cgroup(path) => (path.clone(), path.display().to_string(), true),
                    Place::Netns => ("/proc/self/ns/net".into(), "netns".to_owned(), false),
                };
                let order = File::open(&path)
                    .and_then(|target| {
                        sys::query_programs(target.as_fd(), attached.attach_type, cgroup)
                    })
                    .unwrap_or_default();
                let id = programs.id(attached.program);
                Effective {
                    program: attached.program,
                    place,
                    effective: order.contains(&id),
                    order,
                    id,
                }
            })
            .collect()
    }
}

pub(super) fn open(path: &Path) -> Result<File, KernelError> {
    File::open(path).map_err(|error| {
        KernelError::new(
            format!("opening {}", path.display()),
            "the cgroup does not exist; compare intercept.cgroup with /proc/PID/cgroup",
            error,
        )
    })
}

pub(super) fn attaching(
    name: &str,
    place: &Path,
    error: aya::programs::ProgramError,
) -> KernelError {
    KernelError::new(
        format!("attaching {name} to {}", place.display()),
        "it needs CAP_NET_ADMIN; EPERM can also mean that another tool attached to a cgroup above \
         without allowing others (`bpftool cgroup tree` shows it)",
        error,
    )
}
