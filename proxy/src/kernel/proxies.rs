//! Proxies of others, to whose listeners connections are redirected.
//!
//! A proxy's listening socket is registered as our own are: the kernel removes the entry when the
//! proxy closes it, so that it is there for as long as somebody can accept. For that it is taken
//! out of the proxy's process, registered, and our copy of it closed at once.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    path::Path,
};

use parking_lot::Mutex;
use sidetrack_abi::ListenerKey;

use super::{
    Family, KernelError, effective::Effective, listening, load::Programs, maps::Maps, process,
    rules::NamedProxy, sockdiag::Listening,
};

mod links;
mod owner;
mod place;
mod unfit;

use links::Links;
use owner::{Hierarchy, Owner};
use place::Place;
pub use place::ProxyListener;
pub use unfit::Unfit;

/// What a look at the proxies found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// All that the configuration names are there, if only to be refused.
    Complete,
    /// One is not there, and may be any moment.
    Missing,
}

/// The kernel side of it.
#[derive(Clone, Copy)]
pub(super) struct Kernel<'a> {
    pub(super) maps: &'a Mutex<Maps>,
    pub(super) programs: &'a Mutex<Programs>,
    pub(super) netns: u64,
}

/// All proxies of a daemon.
#[derive(Default)]
pub(super) struct Proxies {
    /// Unknown until programs are attached: nothing is looked at before.
    hierarchy: Option<Hierarchy>,
    active: Generation,
    next: Generation,
    /// What is attached for the proxies, by the ids of their cgroups.
    admitted: HashMap<u64, Links>,
}

/// The proxies of one rule set.
#[derive(Default)]
struct Generation {
    set: u32,
    places: Vec<Place>,
}

impl Generation {
    fn new(set: u32, named: &[NamedProxy], before: &Generation) -> Self {
        let mut places = Vec::new();
        for (number, named) in named.iter().enumerate() {
            let ports = [(Family::V4, named.proxy.v4), (Family::V6, named.proxy.v6)];
            for (family, port) in ports {
                let (Some(port), Ok(number)) = (port, u16::try_from(number)) else {
                    continue;
                };
                let fresh = Place::new(&named.name, number, family, port, named.proxy.user);
                let known = before.places.iter().find(|place| place.is_as(&fresh));
                places.push(match known {
                    Some(known) => known.renumbered(number),
                    None => fresh,
                });
            }
        }
        Self { set, places }
    }

    fn cgroups(&self) -> HashSet<u64> {
        let owners = self.places.iter().filter_map(Place::owner);
        owners.map(|owner| owner.cgroup_id).collect()
    }
}

impl Proxies {
    /// Programs are about to be attached at `governed`.
    pub(super) fn begin(&mut self, mount: &Path, governed: &Path) {
        self.hierarchy = Some(Hierarchy {
            mount: mount.into(),
            governed: governed.into(),
        });
    }

    /// Nothing is looked at or registered from here on. What is attached stays, for connections
    /// that the proxies have accepted and not asked about yet.
    pub(super) fn close(&mut self) {
        self.hierarchy = None;
        self.active.places.clear();
    }

    /// Detaches what answers SO_ORIGINAL_DST.
    pub(super) fn detach(&mut self) {
        self.close();
        self.admitted.clear();
    }

    /// Looks at the proxies of the rules that are to become active in `set`, and registers those
    /// that are there, so that no connect finds them missing after the switch.
    pub(super) fn prepare(
        &mut self,
        kernel: Kernel<'_>,
        set: u32,
        named: &[NamedProxy],
    ) -> Result<(), KernelError> {
        let mut next = Generation::new(set, named, &self.active);
        self.pass(kernel, &mut next)?;
        self.next = next;
        Ok(())
    }

    /// The rules that were prepared are active.
    pub(super) fn commit(&mut self) {
        self.active = std::mem::take(&mut self.next);
    }

    /// Looks at the proxies again.
    pub(super) fn look(&mut self, kernel: Kernel<'_>) -> Result<Look, KernelError> {
        if self.hierarchy.is_none() {
            return Ok(Look::Complete);
        }
        let mut active = std::mem::take(&mut self.active);
        let passed = self.pass(kernel, &mut active);
        self.active = active;
        passed?;
        // Last: what is given up here has no listener any more.
        let cgroups = self.active.cgroups();
        self.admitted.retain(|id, _| cgroups.contains(id));
        kernel.maps.lock().keep_proxy_cgroups(&cgroups);
        Ok(if self.active.places.iter().any(Place::is_awaited) {
            Look::Missing
        } else {
            Look::Complete
        })
    }

    /// What was found of each.
    pub(super) fn report(&self) -> Vec<ProxyListener> {
        self.active.places.iter().map(Place::report).collect()
    }

    /// What the kernel says of the programs that are attached for them.
    pub(super) fn effective(&self, programs: &Programs) -> Vec<Effective> {
        let links = self.admitted.values();
        links
            .filter_map(|links| links.effective(programs))
            .collect()
    }

    fn pass(&mut self, kernel: Kernel<'_>, generation: &mut Generation) -> Result<(), KernelError> {
        let set = generation.set;
        let there = kernel.maps.lock().proxy_listeners(set);
        let Some(hierarchy) = self.hierarchy.clone() else {
            // Of a daemon before this one, whose numbers may have meant other proxies.
            for key in &there {
                kernel.maps.lock().unregister_proxy(key);
            }
            return Ok(());
        };
        let sockets = if generation.places.is_empty() {
            Vec::new()
        } else {
            listening::sockets()?
        };
        let named: HashSet<ListenerKey> = generation
            .places
            .iter()
            .map(|place| place.key(kernel.netns, set))
            .collect();
        // Of another generation that had this set.
        for key in there.difference(&named) {
            kernel.maps.lock().unregister_proxy(key);
        }
        for place in &mut generation.places {
            let before = place.gist();
            let socket = place.look(&sockets, &hierarchy);
            let key = place.key(kernel.netns, set);
            match socket.zip(place.serving().cloned()) {
                Some(_) if there.contains(&key) && place.is_registered() => {}
                Some((socket, owner)) => {
                    match self.admit(kernel, &hierarchy, &key, &owner, socket) {
                        Ok(()) => place.registered = Some(socket.cookie),
                        Err(unfit) => {
                            place.found = Some(Err(unfit));
                            place.give_up(kernel, &key);
                        }
                    }
                }
                None => place.give_up(kernel, &key),
            }
            if place.gist() != before {
                place.log();
            }
        }
        Ok(())
    }

    /// Registers a proxy's socket, when everything that it needs is there.
    fn admit(
        &mut self,
        kernel: Kernel<'_>,
        hierarchy: &Hierarchy,
        key: &ListenerKey,
        owner: &Owner,
        socket: &Listening,
    ) -> Result<(), Unfit> {
        let refused = |error: KernelError| Unfit::Kernel(error.to_string());
        if let Entry::Vacant(vacant) = self.admitted.entry(owner.cgroup_id) {
            let links = kernel
                .programs
                .lock()
                .attach_proxy(&owner.cgroup, &hierarchy.governed)
                .map_err(refused)?;
            vacant.insert(links);
        }
        let taken = owner::take(owner, socket)?;
        let mut maps = kernel.maps.lock();
        maps.add_proxy_cgroup(owner.cgroup_id).map_err(refused)?;
        maps.register_proxy(key, &taken).map_err(refused)
    }
}
