//! Who keeps a program from being attached, and whom it keeps from running.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::{Place, Points};
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

/// A program of another tool that does not run any more where ours is attached.
#[derive(Debug)]
pub struct Displaced {
    /// Its id and name.
    pub program: String,
    pub(super) ids: Vec<u32>,
    /// The hook.
    pub hook: &'static str,
    /// The cgroup that it is attached to.
    pub above: PathBuf,
    /// That of ours.
    pub cgroup: PathBuf,
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is attached to {} of the cgroup {} in such a way (BPF_F_ALLOW_OVERRIDE) that it does \
             not run at and below {} while ours is attached there; have that tool attach with \
             BPF_F_ALLOW_MULTI",
            self.program,
            self.hook,
            self.above.display(),
            self.cgroup.display(),
        )
    }
}

impl Points {
    /// Programs of other tools that do not run while ours are attached.
    pub fn displaced(&self) -> Vec<Displaced> {
        let places = self.places().into_iter();
        places
            .filter_map(|(_, attach_type, place, _)| place.displaced(attach_type))
            .collect()
    }
}

impl Place {
    /// Who keeps a program from being attached here, if somebody does.
    pub(in crate::kernel) fn held(&self, attach_type: u32) -> Option<Held> {
        let own = self.path();
        // The nearest one that has programs decides (`hierarchy_allows_attach()`,
        // kernel/bpf/cgroup.c).
        self.nearest(attach_type, own)
            .filter(|found| {
                let override_below = found.flags & ALLOW_OVERRIDE != 0 && found.cgroup != own;
                found.flags & ALLOW_MULTI == 0 && !override_below
            })
            .map(|found| Held {
                program: others::described(&found.programs),
                hook: hook_name(attach_type),
                cgroup: found.cgroup.to_path_buf(),
                source: io::Error::from_raw_os_error(libc::EPERM),
            })
    }

    /// Whom a program keeps from running when it is attached here: one above that may be overridden
    /// runs only where nothing else is attached (`compute_effective_progs()`, kernel/bpf/cgroup.c).
    pub(super) fn displaced(&self, attach_type: u32) -> Option<Displaced> {
        let own = self.path();
        self.nearest(attach_type, own.parent()?)
            .filter(|found| found.flags & (ALLOW_OVERRIDE | ALLOW_MULTI) == ALLOW_OVERRIDE)
            .map(|found| Displaced {
                program: others::described(&found.programs),
                ids: found.programs,
                hook: hook_name(attach_type),
                above: found.cgroup.to_path_buf(),
                cgroup: own.to_path_buf(),
            })
    }

    /// The nearest cgroup with programs, of `from` and those above it.
    fn nearest<'a>(&self, attach_type: u32, from: &'a Path) -> Option<Nearest<'a>> {
        let Self::Cgroup(_) = self else {
            return None;
        };
        let mount = preflight::cgroup2_mount().ok()?;
        from.ancestors()
            .take_while(|above| above.starts_with(&mount))
            // What is not there yet has none.
            .filter_map(|cgroup| attached_at(cgroup, attach_type).map(|found| (cgroup, found)))
            .find(|(_, (programs, _))| !programs.is_empty())
            .map(|(cgroup, (programs, flags))| Nearest {
                cgroup,
                programs,
                flags,
            })
    }
}

struct Nearest<'a> {
    cgroup: &'a Path,
    programs: Vec<u32>,
    flags: u32,
}

fn attached_at(cgroup: &Path, attach_type: u32) -> Option<(Vec<u32>, u32)> {
    let folder = File::open(cgroup).ok()?;
    sys::query_attached(folder.as_fd(), attach_type).ok()
}
