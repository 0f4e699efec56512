//! Who keeps a program from being attached.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::Place;
use crate::kernel::{
    effective::{hook_name, others},
    preflight, sys,
};

/// `BPF_F_ALLOW_OVERRIDE`: a cgroup below may have a program in place of this one.
const ALLOW_OVERRIDE: u32 = 1;
/// `BPF_F_ALLOW_MULTI`: others may be attached beside it and below.
const ALLOW_MULTI: u32 = 2;

/// A program of another tool that lets none of ours be attached.
#[derive(Debug, thiserror::Error)]
#[error(
    "{program} is attached to {hook} of the cgroup {} without letting others attach beside or \
     below it (BPF_F_ALLOW_MULTI)",
    cgroup.display()
)]
pub struct Held {
    /// Its id and name.
    pub program: String,
    /// The hook.
    pub hook: &'static str,
    /// The cgroup that it is attached to: that of ours, or one above it.
    pub cgroup: PathBuf,
    /// What the kernel answers.
    #[source]
    pub source: io::Error,
}

impl Place {
    /// Who keeps a program from being attached here, if somebody does.
    pub(in crate::kernel) fn held(&self, attach_type: u32) -> Option<Held> {
        let Self::Cgroup(path) = self else {
            return None;
        };
        let mount = preflight::cgroup2_mount().ok()?;
        let within = path
            .ancestors()
            .take_while(|above| above.starts_with(&mount));
        within
            .map(|cgroup| attached_at(cgroup, attach_type).map(|found| (cgroup, found)))
            // The nearest one that has programs decides (`hierarchy_allows_attach()`,
            // kernel/bpf/cgroup.c). What is not there yet has none.
            .find_map(|found| found.filter(|(_, (ids, _))| !ids.is_empty()))
            .filter(|(cgroup, (_, flags))| {
                let override_below = *flags & ALLOW_OVERRIDE != 0 && *cgroup != path;
                flags & ALLOW_MULTI == 0 && !override_below
            })
            .map(|(cgroup, (ids, _))| Held {
                program: others::described(&ids),
                hook: hook_name(attach_type),
                cgroup: cgroup.to_path_buf(),
                source: io::Error::from_raw_os_error(libc::EPERM),
            })
    }
}

fn attached_at(cgroup: &Path, attach_type: u32) -> Option<(Vec<u32>, u32)> {
    let folder = File::open(cgroup).ok()?;
    sys::query_attached(folder.as_fd(), attach_type).ok()
}
