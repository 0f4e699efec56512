//! What the kernel runs, asked of the kernel: programs in their order, ours and those of others,
//! and what is not as it was meant.

use std::{collections::BTreeMap, fs::File, io, os::fd::AsFd as _, path::PathBuf};

use serde::{Deserialize, Serialize};
use sidetrack_abi::names::program;

use super::{
    attach::{Attached, Attachment, CGROUP_PROGRAMS, GETSOCKOPT, Place, SK_LOOKUP, SOCK_OPS},
    load::Programs,
    pins::Pins,
    sys::{
        self,
        link::{self, LinkTarget},
    },
};

pub(super) mod elsewhere;
pub mod fault;
pub mod left;
pub mod others;

pub use fault::Fault;

/// Cgroups at which the kernel is asked, beside the attach point. Each question is a few
/// microseconds, and there are seven for each.
const ASKED: usize = 1024;
/// Cgroups that one answer names.
const NAMED: usize = 8;

/// What the kernel says of one program of ours.
#[derive(Clone, Debug, Serialize)]
pub struct Effective {
    /// Its name.
    pub program: &'static str,
    /// The cgroup, `netns`, or `net:[INODE]` of another network namespace.
    pub place: String,
    /// Whether the kernel runs it there.
    pub effective: bool,
    /// Ids of all programs that run there, in their order, with those of others.
    pub order: Vec<u32>,
    /// Our program's id.
    pub id: u32,
}

/// What the kernel runs at one hook, wherever it runs the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// `connect4`, `sk_lookup`.
    pub hook: String,
    /// Cgroups or network namespaces; the first ones.
    pub places: Vec<String>,
    /// How many places there are in all.
    pub count: usize,
    /// In the order in which they run.
    pub programs: Vec<Ran>,
}

/// A program that the kernel runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its id; of ours, which has one of its own in each network namespace, that at the first place.
    pub id: u32,
    /// Whether it is this instance's.
    pub ours: bool,
    /// What the kernel tells to whoever may ask, CAP_SYS_ADMIN.
    #[serde(flatten)]
    pub about: Option<others::About>,
}

/// What the kernel says of a whole instance.
#[derive(Debug, Default)]
pub struct Proof {
    /// Each program of ours.
    pub programs: Vec<Effective>,
    /// What runs at our hooks.
    pub hooks: Vec<Hook>,
    /// What is not as it was meant.
    pub faults: Vec<Fault>,
}

/// The name of a hook, as bpftool has it.
pub fn hook_name(attach_type: u32) -> &'static str {
    match attach_type {
        SOCK_OPS => "sock_ops",
        GETSOCKOPT => "getsockopt",
        SK_LOOKUP => "sk_lookup",
        10 => "connect4",
        11 => "connect6",
        14 => "sendmsg4",
        15 => "sendmsg6",
        29 => "getpeername4",
        30 => "getpeername6",
        31 => "getsockname4",
        32 => "getsockname6",
        _ => "unknown",
    }
}

/// The hooks that are attached for whoever is governed.
fn governed_hooks() -> impl Iterator<Item = (&'static str, u32)> {
    CGROUP_PROGRAMS
        .into_iter()
        .chain([(program::SOCKOPS, SOCK_OPS)])
}

impl Place {
    /// As people are told.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Cgroup(path) => path.display().to_string(),
            Self::Netns => "netns".to_owned(),
            Self::Elsewhere { inode, .. } => elsewhere::place(*inode),
        }
    }

    /// Ids of the programs that take effect here, in their order.
    pub(super) fn order(&self, attach_type: u32) -> io::Result<Vec<u32>> {
        let target = File::open(self.path())?;
        let cgroup = matches!(self, Self::Cgroup(_));
        sys::query_programs(target.as_fd(), attach_type, cgroup)
    }
}

impl Attached {
    fn effective(&self, programs: &Programs) -> Effective {
        let order = self.place.order(self.attach_type).unwrap_or_default();
        let id = programs.id(self.program);
        // A link whose place is gone is a descriptor that does nothing.
        let there = link::link_info(self.link.as_fd()).is_ok_and(|info| !info.target.is_gone());
        Effective {
            program: self.program,
            place: self.place.name(),
            effective: there && order.contains(&id),
            order,
            id,
        }
    }
}

impl LinkTarget {
    /// Whether the link was detached, or what it was at is gone.
    pub(super) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Cgroup { id: 0, .. } | Self::Netns { inode: 0, .. }
        )
    }
}

impl Proof {
    /// What was found in other network namespaces.
    pub fn add_elsewhere(&mut self, found: Vec<Effective>, faults: Vec<Fault>) {
        elsewhere::add(&mut self.programs, &mut self.hooks, found);
        self.faults.extend(faults);
    }

    /// Looks at what is attached: at each place, and at `cgroups` below the attach point.
    pub(super) fn of(
        &mut self,
        attachment: &Attachment,
        programs: &Programs,
        pins: Option<&Pins>,
        cgroups: &[PathBuf],
    ) {
        let mut found = Grouped::default();
        for one in &attachment.attached {
            found.ask(one.attach_type, &one.place);
            self.programs.push(one.effective(programs));
            let id = programs.id(one.program);
            self.faults.extend(fault::of_link(one, id, pins));
        }
        // At the attach point itself all of that is said already.
        let at_top: Vec<&str> = self
            .programs
            .iter()
            .filter(|one| one.effective)
            .map(|one| one.program)
            .collect();
        let governed = governed_hooks().filter(|(name, _)| at_top.contains(name));
        let governed: Vec<_> = governed
            .map(|(name, kind)| (name, kind, programs.id(name)))
            .collect();
        for cgroup in cgroups.iter().take(ASKED) {
            let place = Place::Cgroup(cgroup.clone());
            for (name, attach_type, id) in &governed {
                // It may have just gone.
                let order = found.ask(*attach_type, &place);
                if order.is_some_and(|order| !order.contains(id)) {
                    self.faults.push(fault::not_effective(name, &place));
                }
            }
        }
        let own: Vec<u32> = program::ALL.iter().map(|name| programs.id(name)).collect();
        self.hooks = found.into_hooks(|id| own.contains(&id));
        if let Some(pins) = pins {
            self.faults.extend(fault::of_maps(pins));
        }
    }
}

/// Answers of the kernel; equal ones are one.
#[derive(Default)]
pub(super) struct Grouped(BTreeMap<(u32, Vec<u32>), Vec<String>>);

impl Grouped {
    /// `None` if the place is gone.
    pub(super) fn ask(&mut self, attach_type: u32, place: &Place) -> Option<Vec<u32>> {
        let order = place.order(attach_type).ok()?;
        let places = self.0.entry((attach_type, order.clone())).or_default();
        places.push(place.name());
        Some(order)
    }

    pub(super) fn into_hooks(self, ours: impl Fn(u32) -> bool) -> Vec<Hook> {
        let hooks = self
            .0
            .into_iter()
            .map(|((attach_type, order), mut places)| Hook {
                hook: hook_name(attach_type).to_owned(),
                count: places.len(),
                places: {
                    places.truncate(NAMED);
                    places
                },
                programs: order
                    .into_iter()
                    .map(|id| Ran {
                        id,
                        ours: ours(id),
                        about: None,
                    })
                    .collect(),
            });
        hooks.collect()
    }
}
