//! What is in force and no daemon tells of: of one that was killed or has stopped, of the guard, or
//! of one that does not answer.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use serde::Serialize;

use super::{Effective, Fault, Grouped, Hook, elsewhere, fault};
use crate::{
    holder::Holder,
    kernel::{
        attach::{Place, every_pinned},
        cgroup::{folder, whose},
        pins::{self, PinError, PinName, Pins},
        preflight,
        sys::link::{self, LinkInfo, LinkTarget},
    },
    socket::monotonic,
};

/// The state of an instance whose daemon does not tell it.
#[derive(Debug, Serialize)]
pub struct LeftInForce {
    /// Its name.
    pub instance: String,
    /// `no daemon` or `not answering`.
    pub state: &'static str,
    /// Never: nobody is known to redirect anything.
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
    let Some(_held) = Pins::open_existing(name)? else {
        return Ok(None);
    };
    let nobody = Fault::new(
        "no daemon of this instance runs, and its rules are in force: each connection gets its \
         rule's fail mode, so that those with fail = \"block\" fail",
        format!(
            "start a daemon with `sidetrack run`, or remove the rules with `sidetrack detach --instance {name}`"
        ),
    );
    read(name, "no daemon", vec![nobody]).map(Some)
}

/// Reads the same of a daemon that has the pins, `holder`, and does not answer.
///
/// # Errors
/// They cannot be read.
pub fn look_past(name: &PinName, holder: Holder) -> Result<LeftInForce, PinError> {
    let mut faults = vec![Fault::new(
        format!("the daemon of this instance, {holder}, does not answer"),
        "look at its state (`ps -o pid,stat,wchan:30,cmd`, where T is stopped) and at its log; let it \
         go on with SIGCONT, or restart it",
    )];
    let settings = pins::pinned_settings(name);
    if let (Some(settings), Some(last)) = (settings, pins::pinned_heartbeat(name)) {
        let allowed = Duration::from_nanos(settings.alive_for);
        faults.extend(fault::of_heartbeat(monotonic(), last, allowed));
    }
    read(name, "not answering", faults)
}

fn read(
    name: &PinName,
    state: &'static str,
    mut faults: Vec<Fault>,
) -> Result<LeftInForce, PinError> {
    let mut found = Looking::default();
    for (program, attach_type) in every_pinned() {
        match pins::pinned_link(name, program)? {
            Some(link) => found.link(program, attach_type, &link),
            None => found.faults.push(Fault::new(
                format!("{program} is not pinned"),
                "run `sidetrack guard` or a daemon, which attach it",
            )),
        }
    }
    let (steered, closed) = elsewhere::left(name)?;
    let own: Vec<u32> = found.programs.iter().map(|one| one.id).collect();
    faults.append(&mut found.faults);
    faults.extend(closed);
    let mut hooks = found.grouped.into_hooks(|id| own.contains(&id));
    elsewhere::add(&mut found.programs, &mut hooks, steered);
    Ok(LeftInForce {
        instance: name.to_string(),
        state,
        effective: false,
        generation: pins::pinned_settings(name).map(|settings| settings.generation),
        cgroup: found.cgroup,
        programs: found.programs,
        hooks,
        faults,
    })
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
            self.faults.push(fault::not_effective(program, &place));
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
