//! What is attached for a proxy of others: at its own cgroup, while it is there.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::programs::{
    CgroupAttachMode, CgroupSockopt, SockOps, cgroup_sockopt::CgroupSockoptLink,
    sock_ops::SockOpsLink,
};
use sidetrack_abi::names::program;

use super::super::{
    KernelError,
    attach::{Effective, GETSOCKOPT, attaching, open},
    load::Programs,
    sys,
};

/// Detached when dropped.
pub(super) struct Links {
    cgroup: PathBuf,
    _sockopt: CgroupSockoptLink,
    _sock_ops: Option<SockOpsLink>,
}

impl Links {
    /// `None` if the cgroup has gone, and what was attached with it.
    pub(super) fn effective(&self, programs: &Programs) -> Option<Effective> {
        let folder = File::open(&self.cgroup).ok()?;
        let order = sys::query_programs(folder.as_fd(), GETSOCKOPT, true).unwrap_or_default();
        let id = programs.id(program::GETSOCKOPT);
        Some(Effective {
            program: program::GETSOCKOPT,
            place: self.cgroup.display().to_string(),
            effective: order.contains(&id),
            order,
            id,
        })
    }
}

impl Programs {
    /// Attaches what answers SO_ORIGINAL_DST to the processes of `cgroup`. Below `governed`
    /// what notes the destination runs already, and must not run twice.
    pub(super) fn attach_proxy(
        &mut self,
        cgroup: &Path,
        governed: &Path,
    ) -> Result<Links, KernelError> {
        let folder = open(cgroup)?;
        let sock_ops = if cgroup.starts_with(governed) {
            None
        } else {
            let program: &mut SockOps = self.program(program::SOCKOPS)?;
            let link = program
                .attach(&folder, CgroupAttachMode::Single)
                .and_then(|id| program.take_link(id))
                .map_err(|error| attaching(program::SOCKOPS, cgroup, error))?;
            Some(link)
        };
        let program: &mut CgroupSockopt = self.program(program::GETSOCKOPT)?;
        let sockopt = program
            .attach(&folder, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(|error| attaching(program::GETSOCKOPT, cgroup, error))?;
        Ok(Links {
            cgroup: cgroup.into(),
            _sockopt: sockopt,
            _sock_ops: sock_ops,
        })
    }
}
