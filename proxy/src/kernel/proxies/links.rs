//! What is attached for a proxy of others: at its own cgroup, while it is there.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use sidetrack_abi::names::program;

use super::super::{
    KernelError,
    attach::{GETSOCKOPT, SOCK_OPS},
    effective::Effective,
    load::Programs,
    sys,
};

/// Detached when dropped.
pub(super) struct Links {
    cgroup: PathBuf,
    _sockopt: OwnedFd,
    _sock_ops: Option<OwnedFd>,
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
        &self,
        cgroup: &Path,
        governed: &Path,
    ) -> Result<Links, KernelError> {
        let sock_ops = match cgroup.starts_with(governed) {
            true => None,
            false => Some(self.attach_to_cgroup(program::SOCKOPS, SOCK_OPS, cgroup)?),
        };
        Ok(Links {
            cgroup: cgroup.into(),
            _sockopt: self.attach_to_cgroup(program::GETSOCKOPT, GETSOCKOPT, cgroup)?,
            _sock_ops: sock_ops,
        })
    }
}
