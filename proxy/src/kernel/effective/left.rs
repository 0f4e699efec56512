//! What is in force without a daemon: of one that was killed or has stopped, or of the guard.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
};

use serde::Serialize;

use super::{Effective, Fault, Grouped, Hook};
use crate::kernel::{
    attach::{Place, every_pinned},
    cgroup::{folder, whose},
    pins::{self, PinError, PinName, Pins},
    preflight,
    sys::link::{self, LinkInfo, LinkTarget},
};

/// The state of an instance without a daemon.
#[derive(Debug, Serialize)]
pub struct LeftInForce {
    /// Its name.
    pub instance: String,
    /// `no daemon`
    pub state: &'static str,
    /// Never: nobody redirects anything.
    pub effective: bool,
    /// Generation of the rules; absent if another build of this program left them.
    pub generation: Option<u32>,
    /// The attach point, if it is still there.
    pub cgroup: Option<String>,
    /// Each program of ours.
    pub programs: Vec<Effective>,
    /// Everything that the kernel runs at the same hooks.
    pub hooks: Vec<Hook>,
    /// What this means, and what is not as a daemon left it.
    pub faults: Vec<Fault>,
}

/// Reads what the pins of an instance hold; `None` if it has none.
///
/// # Errors
/// [`PinError::Held`] if a daemon has them after all, whose control socket is elsewhere.
pub fn look(name: &PinName) -> Result<Option<LeftInForce>, PinError> {
    let Some(pins) = Pins::open_existing(name)? else {
        return Ok(None);
    };
    let mut found = Looking::default();
    for (program, attach_type) in every_pinned() {
        match pins.link(program)? {
            Some(link) => found.link(program, attach_type, &link),
            None => found.faults.push(Fault::new(
                format!("{program} is not pinned"),
                "run `sidetrack guard` or a daemon, which attach it",
            )),
        }
    }
    let own: Vec<u32> = found.programs.iter().map(|one| one.id).collect();
    let mut faults = vec![Fault::new(
        "no daemon of this instance runs, and its rules are in force: each connection gets its \
         rule's fail mode, so that those with fail = \"block\" fail",
        format!(
            "start a daemon with `sidetrack run`, or remove the rules with `sidetrack detach --instance {name}`"
        ),
    )];
    faults.append(&mut found.faults);
    Ok(Some(LeftInForce {
        instance: name.to_string(),
        state: "no daemon",
        effective: false,
        generation: pins::pinned_settings(name).map(|settings| settings.generation),
        cgroup: found.cgroup,
        programs: found.programs,
        hooks: found.grouped.into_hooks(|id| own.contains(&id)),
        faults,
    }))
}

#[derive(Default)]
struct Looking {
    programs: Vec<Effective>,
    grouped: Grouped,
    faults: Vec<Fault>,
    cgroup: Option<String>,
    /// By their ids: finding one reads all folders.
    places: BTreeMap<u64, Option<Place>>,
}

impl Looking {
    fn link(&mut self, program: &'static str, attach_type: u32, link: &OwnedFd) {
        let info = match link::link_info(link.as_fd()) {
            Ok(info) => info,
            Err(error) => {
                self.fault(format!("asking for the link of {program}: {error}"));
                return;
            }
        };
        let Some(place) = self.place(&info) else {
            self.fault(match info.target {
                target if target.is_gone() => format!(
                    "{program} is attached nowhere: its link was detached, or its cgroup is gone"
                ),
                _ => format!("{program} is attached where this command does not see it"),
            });
            return;
        };
        let order = self.grouped.ask(attach_type, &place).unwrap_or_default();
        let effective = order.contains(&info.program);
        if !effective {
            self.faults
                .push(super::fault::not_effective(program, &place));
        }
        self.programs.push(Effective {
            program,
            place: place.name(),
            effective,
            order,
            id: info.program,
        });
    }

    fn place(&mut self, info: &LinkInfo) -> Option<Place> {
        match info.target {
            LinkTarget::Netns { inode, .. } => {
                let own = crate::kernel::cgroup::id(Place::Netns.path()).ok()?;
                (own == inode).then_some(Place::Netns)
            }
            LinkTarget::Cgroup { id, .. } if id != 0 => {
                let place = self.places.entry(id).or_insert_with(|| {
                    let mount = preflight::cgroup2_mount().ok()?;
                    let path = whose::search(&mount, id)?;
                    Some(Place::Cgroup(folder(&mount, &path)))
                });
                if self.cgroup.is_none() {
                    self.cgroup = place.as_ref().map(Place::name);
                }
                place.clone()
            }
            LinkTarget::Cgroup { .. } | LinkTarget::Other => None,
        }
    }

    fn fault(&mut self, what: String) {
        self.faults.push(Fault::new(
            what,
            "run `sidetrack guard` or a daemon, which attach it",
        ));
    }
}
