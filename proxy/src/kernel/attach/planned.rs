//! What a start would attach, and among whom; it attaches nothing.

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sidetrack_abi::names::program;

use super::{Lasting, Place, Points, SK_LOOKUP};
use crate::kernel::{
    effective::{hook_name, others},
    pins::{self, PinName, link_path},
    sys::{
        self,
        link::{self, LinkInfo, LinkTarget},
    },
};

/// A program that a start would attach.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// Its name.
    pub program: &'static str,
    /// The hook.
    pub hook: &'static str,
    /// The cgroup, `netns`, or `net:[INODE]` of another network namespace.
    pub place: String,
    /// Whether it stays in force when the daemon ends.
    pub pinned: bool,
    /// Whether it takes the place of one of this instance's that is in force there.
    pub replaces: bool,
    /// What would run there, in the order in which it would.
    pub order: Vec<Turn>,
    /// Why the kernel would refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whom of another tool it would keep from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub displaces: Option<String>,
    /// Why what runs there already could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// One of the programs of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// Its id, if it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its name, if the kernel tells.
    pub name: String,
    /// Whether it is this instance's.
    pub ours: bool,
}

/// A network namespace beside the daemon's own.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// A file that shows it.
    pub path: PathBuf,
    /// As `lsns` shows it.
    pub inode: u64,
}

impl Points {
    /// What would be attached, in the order in which it would.
    pub fn planned(&self, name: &PinName) -> Vec<Planned> {
        let places = self.places().into_iter();
        places
            .map(|(program, attach_type, place, lasting)| {
                let pinned = lasting == Lasting::Pinned;
                let before = pinned.then(|| in_force(name, program, attach_type, &place));
                plan((program, attach_type), &place, pinned, before.flatten())
            })
            .collect()
    }
}

/// What would be attached to other network namespaces, for connections that come there.
pub fn elsewhere(name: &PinName, namespaces: &[Elsewhere]) -> Vec<Planned> {
    let steered = pins::steered(name).into_iter();
    let steered: Vec<LinkInfo> = steered
        .filter_map(|netns| pinned(name, &pins::steering_name(netns)))
        .collect();
    let each = namespaces.iter().map(|Elsewhere { path, inode }| {
        let before = steered.iter().find(
            |info| matches!(info.target, LinkTarget::Netns { inode: at, .. } if at == *inode),
        );
        let place = Place::Elsewhere {
            path: path.clone(),
            inode: *inode,
        };
        plan(
            (program::SK_LOOKUP, SK_LOOKUP),
            &place,
            true,
            before.cloned(),
        )
    });
    each.collect()
}

fn plan(
    (program, attach_type): (&'static str, u32),
    place: &Place,
    pinned: bool,
    before: Option<LinkInfo>,
) -> Planned {
    let before = before.map(|info| info.program);
    let displaced = place.displaced(attach_type);
    let (order, unseen) = match order(program, attach_type, place, before) {
        Ok(mut order) => {
            if let Some(displaced) = &displaced {
                let runs = |id: u32| !displaced.ids.contains(&id);
                order.retain(|turn| turn.id.is_none_or(runs));
            }
            (order, None)
        }
        Err(error) => (vec![Turn::ours(program)], Some(error.to_string())),
    };
    Planned {
        program,
        hook: hook_name(attach_type),
        place: place.name(),
        pinned,
        replaces: before.is_some(),
        order,
        refused: place.held(attach_type).map(|held| held.to_string()),
        displaces: displaced.map(|displaced| displaced.to_string()),
        unseen,
    }
}

impl Turn {
    fn ours(program: &str) -> Self {
        Self {
            id: None,
            name: program.to_owned(),
            ours: true,
        }
    }
}

/// The link of before that would get the new program.
fn in_force(name: &PinName, program: &str, attach_type: u32, place: &Place) -> Option<LinkInfo> {
    let info = pinned(name, program)?;
    let (_, target) = place.open(attach_type).ok()?;
    (info.target == target).then_some(info)
}

fn pinned(name: &PinName, link: &str) -> Option<LinkInfo> {
    let found = link::open_pinned(&link_path(name, link)?).ok()?;
    link::link_info(found.as_fd()).ok()
}

fn order(
    program: &str,
    attach_type: u32,
    place: &Place,
    before: Option<u32>,
) -> io::Result<Vec<Turn>> {
    // The proxy's own cgroup is made by the start: those above it are in force there.
    let there = nearest(place.path());
    let target = File::open(&there)?;
    let cgroup = matches!(place, Place::Cgroup(_));
    let effective = sys::query_programs(target.as_fd(), attach_type, cgroup)?;
    let (attached, _) = sys::query_attached(target.as_fd(), attach_type)?;
    let mut names = others::names(&effective);
    let mut order: Vec<Turn> = effective
        .iter()
        .map(|id| match before {
            Some(ours) if ours == *id => Turn::ours(program),
            _ => Turn {
                id: Some(*id),
                name: names.remove(id).unwrap_or_default(),
                ours: false,
            },
        })
        .collect();
    if before.is_none() {
        // After those of the same cgroup, before those of the cgroups above.
        let after = if there == place.path() {
            attached.len()
        } else {
            0
        };
        order.insert(after.min(order.len()), Turn::ours(program));
    }
    Ok(order)
}

fn nearest(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|path| path.exists());
    there.unwrap_or(path).to_path_buf()
}
