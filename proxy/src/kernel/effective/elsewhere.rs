//! What steers in network namespaces beside the daemon's own, with the programs of others there.

use std::os::fd::AsFd as _;

use sidetrack_abi::names::program;

use super::{Effective, Fault, Hook, NAMED, Ran, hook_name};
use crate::{
    kernel::{
        attach::{Place, SK_LOOKUP},
        pins::{self, PinError, PinName},
        sys::link::{self, LinkTarget},
    },
    netns::users,
};

/// Namespaces of which each is shown; in more of them there are only faults.
const SHOWN: usize = 64;

/// What a namespace is called, as `readlink` has it.
pub(super) fn place(inode: u64) -> String {
    format!("net:[{inode}]")
}

/// Our sk_lookup in another namespace, among all that run there.
pub(in crate::kernel) fn effective(id: u32, inode: u64, order: Vec<u32>, holds: bool) -> Effective {
    Effective {
        program: program::SK_LOOKUP,
        place: place(inode),
        effective: holds && order.contains(&id),
        order,
        id,
    }
}

/// Adds what was found, first what is not effective. Where the same run beside ours, it is one hook: ours
/// is a program of its own in each.
pub(super) fn add(programs: &mut Vec<Effective>, hooks: &mut Vec<Hook>, mut found: Vec<Effective>) {
    found.sort_by_key(|one| one.effective);
    for one in found.into_iter().take(SHOWN) {
        let ran: Vec<Ran> = one
            .order
            .iter()
            .map(|id| Ran {
                id: *id,
                ours: *id == one.id,
                about: None,
            })
            .collect();
        let hook = hook_name(SK_LOOKUP);
        let same = |there: &&mut Hook| there.hook == hook && are_alike(&there.programs, &ran);
        match hooks.iter_mut().find(same) {
            Some(there) => {
                there.count += 1;
                if there.places.len() < NAMED {
                    there.places.push(one.place.clone());
                }
            }
            None => hooks.push(Hook {
                hook: hook.to_owned(),
                places: vec![one.place.clone()],
                count: 1,
                programs: ran,
            }),
        }
        programs.push(one);
    }
}

fn are_alike(some: &[Ran], others: &[Ran]) -> bool {
    let mut pairs = some.iter().zip(others);
    some.len() == others.len() && pairs.all(|(a, b)| a.ours == b.ours && (a.ours || a.id == b.id))
}

/// What an instance without a daemon has left in other namespaces.
pub(super) fn left(name: &PinName) -> Result<(Vec<Effective>, Vec<Fault>), PinError> {
    let mut steered = pins::steered(name);
    steered.sort_unstable();
    let (mut found, mut faults, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    let users = match steered.is_empty() {
        true => return Ok((found, faults)),
        false => users::all().found,
    };
    let fix = format!(
        "start a daemon with `sidetrack run`, or remove the rules with `sidetrack detach --instance {name}`"
    );
    for netns in steered {
        let pin = pins::steering_name(netns);
        let Some(link) = pins::pinned_link(name, &pin)? else {
            continue;
        };
        let info = match link::link_info(link.as_fd()) {
            Ok(info) => info,
            Err(error) => {
                let what = format!("asking for the link {pin}: {error}");
                faults.push(Fault::new(what, &fix));
                continue;
            }
        };
        let inode = match info.target {
            LinkTarget::Netns { inode, .. } if inode != 0 => inode,
            _ => {
                let what = format!(
                    "{pin} is attached nowhere: its network namespace has ended, or its link was \
                     detached and ports there are open"
                );
                faults.push(Fault::new(what, &fix));
                continue;
            }
        };
        closed.push(place(inode));
        let witness = users.iter().find(|(id, _)| id.inode == inode);
        let Some((_, witness)) = witness.filter(|_| found.len() < SHOWN) else {
            continue;
        };
        let path = witness.path().to_path_buf();
        // It may have just gone.
        if let Ok(order) = (Place::Elsewhere { path, inode }).order(SK_LOOKUP) {
            found.push(effective(info.program, inode, order, true));
        }
    }
    faults.truncate(SHOWN);
    if !closed.is_empty() {
        let count = closed.len();
        closed.truncate(NAMED);
        let more = match count - closed.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = format!(
            "inbound rules are in force in other network namespaces, {}{more}: their ports are closed \
             there, but for what they take in plain text",
            closed.join(", ")
        );
        faults.insert(0, Fault::new(what, &fix));
    }
    Ok((found, faults))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_in_which_the_same_run_beside_ours_are_one_hook_and_what_fails_comes_first() {
        let own = |inode, order: &[u32], id| effective(id, inode, order.to_vec(), true);
        let (mut programs, mut hooks) = (Vec::new(), Vec::new());
        let found = vec![
            own(1, &[10], 10),
            own(2, &[20], 20),
            own(3, &[7, 30], 30),
            own(4, &[7], 40),
        ];
        add(&mut programs, &mut hooks, found);
        let places: Vec<&[String]> = hooks.iter().map(|hook| hook.places.as_slice()).collect();
        let each = [
            ["net:[4]"].as_slice(),
            &["net:[1]", "net:[2]"],
            &["net:[3]"],
        ];
        assert_eq!(places, each);
        assert!(!programs.first().unwrap().effective);
        assert!(programs.iter().skip(1).all(|one| one.effective));
    }

    #[test]
    fn no_more_namespaces_are_shown_than_fit_an_answer() {
        let (mut programs, mut hooks) = (Vec::new(), Vec::new());
        let many = (1..200).map(|id| effective(id, id.into(), vec![id], id != 150));
        add(&mut programs, &mut hooks, many.collect());
        assert_eq!(programs.len(), SHOWN);
        assert_eq!(programs.first().unwrap().id, 150);
        assert!(hooks.iter().all(|hook| hook.places.len() <= NAMED));
    }
}
