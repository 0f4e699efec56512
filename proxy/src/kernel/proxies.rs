//! Proxies of others, to whose listeners connections are redirected.
//!
//! A proxy's listening socket is registered as our own are: the kernel removes the entry when the
//! proxy closes it, so that it is there for as long as somebody can accept. For that it is taken
//! out of the proxy's process, registered, and our copy of it closed at once.
//!
//! A connection can be sent to the loopback address of its own network namespace alone. So each
//! served namespace may have a proxy of its own, at the same address.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sidetrack_abi::ListenerKey;

use super::{
    Family, KernelError,
    effective::Effective,
    listening,
    load::Programs,
    maps::Maps,
    process,
    rules::NamedProxy,
    sockdiag::{self, Listening},
};
use crate::netns::Namespace;

mod links;
mod owner;
mod place;
mod unfit;

use links::Links;
use owner::{Hierarchy, Owner};
use place::Place;
pub use place::ProxyListener;
pub use unfit::Unfit;

/// Between two looks at other namespaces, whose sockets have to be listed for each: not quite the
/// second of the looks, which come a little late or early.
const BETWEEN_LOOKS_ELSEWHERE: Duration = Duration::from_millis(900);

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
    /// Other namespaces that are served, by their cookies.
    others: HashMap<u64, Namespace>,
    looked_elsewhere: Option<Instant>,
}

/// The proxies of one rule set.
#[derive(Default)]
struct Generation {
    set: u32,
    named: Vec<NamedProxy>,
    places: Vec<Place>,
}

/// Listening sockets of namespaces, each asked for once.
#[derive(Default)]
struct Lists(HashMap<Option<u64>, Vec<Listening>>);

impl Lists {
    fn of(&mut self, inside: Option<&Namespace>) -> Result<&[Listening], KernelError> {
        match self.0.entry(inside.map(Namespace::cookie)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(match inside {
                None => listening::sockets()?,
                Some(namespace) => {
                    let listed = namespace.enter(sockdiag::listening).and_then(|all| all);
                    listed
                        .inspect_err(|error| {
                            let netns = namespace.cookie();
                            tracing::debug!(%error, netns, "looking for proxies in a namespace");
                        })
                        .unwrap_or_default()
                }
            })),
        }
    }
}

impl Generation {
    fn new(
        set: u32,
        named: &[NamedProxy],
        others: &HashMap<u64, Namespace>,
        before: &Generation,
    ) -> Self {
        let mut fresh = Self {
            set,
            named: named.into(),
            places: Vec::new(),
        };
        fresh.add(None);
        for namespace in others.values() {
            fresh.add(Some(namespace));
        }
        for place in &mut fresh.places {
            if let Some(known) = before.places.iter().find(|known| known.is_as(place)) {
                *place = known.renumbered(place.number);
            }
        }
        fresh
    }

    /// The places of a namespace; in another than the daemon's own those of proxies that are known
    /// by their cgroup.
    fn add(&mut self, inside: Option<&Namespace>) {
        for (number, named) in self.named.iter().enumerate() {
            let Ok(number) = u16::try_from(number) else {
                continue;
            };
            if inside.is_some() && named.proxy.cgroup.is_none() {
                continue;
            }
            let ports = [(Family::V4, named.proxy.v4), (Family::V6, named.proxy.v6)];
            let there = ports
                .into_iter()
                .filter_map(|(family, port)| Some((family, port?)));
            self.places
                .extend(there.map(|at| Place::new(named, number, at, inside)));
        }
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
        self.others.clear();
    }

    /// Connections of another namespace are redirected from here on, to proxies there too.
    pub(super) fn serve(&mut self, namespace: &Namespace) {
        let known = self.others.insert(namespace.cookie(), namespace.clone());
        if known.is_none() {
            self.active.add(Some(namespace));
            self.looked_elsewhere = None;
        }
    }

    /// They are not any more. Nothing of it is held.
    pub(super) fn forget(&mut self, netns: u64) {
        self.others.remove(&netns);
        let places = &mut self.active.places;
        places.retain(|place| place.netns() != Some(netns));
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
        let mut next = Generation::new(set, named, &self.others, &self.active);
        self.pass(kernel, &mut next, true)?;
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
        let last = self.looked_elsewhere;
        let elsewhere = last.is_none_or(|last| last.elapsed() >= BETWEEN_LOOKS_ELSEWHERE);
        if elsewhere {
            self.looked_elsewhere = Some(Instant::now());
        }
        let mut active = std::mem::take(&mut self.active);
        let passed = self.pass(kernel, &mut active, elsewhere);
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
        let places = self.active.places.iter();
        let told = places.filter(|place| place.is_worth_telling());
        told.map(Place::report).collect()
    }

    /// What the kernel says of the programs that are attached for them.
    pub(super) fn effective(&self, programs: &Programs) -> Vec<Effective> {
        let links = self.admitted.values();
        links
            .filter_map(|links| links.effective(programs))
            .collect()
    }

    /// Looks at each place; at those in other namespaces if `elsewhere` says so.
    fn pass(
        &mut self,
        kernel: Kernel<'_>,
        generation: &mut Generation,
        elsewhere: bool,
    ) -> Result<(), KernelError> {
        let set = generation.set;
        let there = kernel.maps.lock().proxy_listeners(set);
        let Some(hierarchy) = self.hierarchy.clone() else {
            // Of a daemon before this one, whose numbers may have meant other proxies.
            for key in &there {
                kernel.maps.lock().unregister_proxy(key);
            }
            return Ok(());
        };
        let mut lists = Lists::default();
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
            if place.inside.is_some() && !elsewhere {
                continue;
            }
            let before = place.gist();
            let inside = place.inside.clone();
            let socket = place.look(lists.of(inside.as_ref())?, &hierarchy);
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
