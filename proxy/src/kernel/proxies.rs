//! Proxies of others, to whose listeners connections are redirected.
//!
//! A proxy's listening socket is registered as our own are: the kernel removes the entry when the
//! proxy closes it, so that it is there for as long as somebody can accept. For that it is taken
//! out of the proxy's process, registered, and our copy of it closed at once.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;
use sidetrack_abi::{
    ListenerKey,
    flow::{FAMILY_V4, FAMILY_V6, proxy_slot},
};

use super::{
    Family, KernelError, attach::Effective, cgroup, listening, load::Programs, maps::Maps,
    rules::NamedProxy, sockdiag::Listening,
};

mod links;
mod owner;
mod process;
mod unfit;

use links::Links;
use owner::{Hierarchy, Owner};
pub use unfit::Unfit;

/// How long a socket that was refused is not looked at again: to find who has it open, the
/// descriptors of all processes are read.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// A listener of a proxy, for `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProxyListener {
    /// The proxy.
    pub proxy: String,
    /// Where connections are sent.
    pub address: SocketAddr,
    /// `serving`, `absent`, `stopped` or `refused`.
    pub state: &'static str,
    /// Why it does not serve, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// A process that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Its cgroup, whose own connections no rule redirects to a proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

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

/// Where a proxy listens for one family.
#[derive(Clone)]
struct Place {
    proxy: String,
    number: u16,
    family: Family,
    port: u16,
    user: u32,
    /// The socket that was seen last.
    cookie: u64,
    /// What was found of it; nothing before the first look.
    found: Option<Result<Owner, Unfit>>,
    looked: Instant,
    /// The socket that is registered.
    registered: Option<u64>,
}

impl Place {
    fn address(&self) -> SocketAddr {
        match self.family {
            Family::V4 => (Ipv4Addr::LOCALHOST, self.port).into(),
            Family::V6 => (Ipv6Addr::LOCALHOST, self.port).into(),
        }
    }

    fn key(&self, netns: u64, set: u32) -> ListenerKey {
        ListenerKey {
            netns,
            family: match self.family {
                Family::V4 => FAMILY_V4,
                Family::V6 => FAMILY_V6,
            },
            slot: proxy_slot(set, self.number),
        }
    }

    fn is_absent(&self) -> bool {
        matches!(self.found, Some(Err(Unfit::Absent(_))))
    }

    /// The owner of the socket, whether it accepts at the moment or not.
    fn owner(&self) -> Option<&Owner> {
        self.found.as_ref()?.as_ref().ok()
    }

    fn serving(&self) -> Option<&Owner> {
        self.owner().filter(|owner| !owner.stopped)
    }

    fn unfit(&self) -> Option<Unfit> {
        match self.found.as_ref()? {
            Ok(owner) => owner.stopped.then(|| Unfit::Stopped { pid: owner.pid() }),
            Err(unfit) => Some(unfit.clone()),
        }
    }

    /// What of it is worth a line in the log when it changes.
    fn gist(&self) -> (Option<&'static str>, u64) {
        let state = self.found.as_ref().map(|_| self.report().state);
        (state, self.cookie)
    }

    fn log(&self) {
        let ProxyListener {
            proxy,
            address,
            state,
            why,
            pid,
            executable,
            cgroup,
        } = self.report();
        match why {
            None => tracing::info!(
                %proxy, %address, pid, executable, cgroup = cgroup.map(|path| path.display().to_string()),
                "the proxy is there: connections are redirected to it"
            ),
            Some(why) => tracing::warn!(
                %proxy, %address, state,
                "no connections are sent to the proxy, and its rules do as their `fail` says: {why}"
            ),
        }
    }

    fn give_up(&mut self, kernel: Kernel<'_>, key: &ListenerKey) {
        self.registered = None;
        kernel.maps.lock().unregister_proxy(key);
    }

    fn report(&self) -> ProxyListener {
        let unfit = self.unfit();
        let owner = self.owner();
        ProxyListener {
            proxy: self.proxy.clone(),
            address: self.address(),
            state: unfit.as_ref().map_or("serving", Unfit::state),
            why: unfit.map(|unfit| unfit.to_string()),
            pid: owner.map(Owner::pid),
            executable: owner.map(|owner| owner.executable.clone()),
            cgroup: owner.map(|owner| owner.cgroup.clone()),
        }
    }

    /// Looks who listens. Most looks see what the one before saw, and read the descriptors of
    /// the proxy's own processes alone.
    fn look(&mut self, sockets: &[Listening], hierarchy: &Hierarchy) {
        let socket = match owner::listener(sockets, self.family, self.port) {
            Ok(Some(socket)) => socket,
            Ok(None) => {
                self.cookie = 0;
                self.found = Some(Err(Unfit::Absent(self.address())));
                return;
            }
            Err(unfit) => {
                self.cookie = 0;
                self.found = Some(Err(unfit));
                return;
            }
        };
        if socket.uid != 0 && socket.uid != self.user {
            self.cookie = socket.cookie;
            self.found = Some(Err(Unfit::WrongUser { uid: socket.uid }));
            return;
        }
        let same = socket.cookie == self.cookie;
        let known = self.owner().filter(|_| same).map(|owner| {
            let pids = cgroup::members(&owner.cgroup);
            owner::find(socket, &pids, hierarchy)
        });
        let refused = same && matches!(self.found, Some(Err(_)));
        if refused && self.looked.elapsed() < REFUSED_FOR {
            return;
        }
        self.looked = Instant::now();
        self.cookie = socket.cookie;
        self.found = Some(match known {
            Some(found) if found != Err(Unfit::NoOwner) => found,
            _ => owner::find(socket, &process::all(), hierarchy),
        });
    }
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
                let known = before.places.iter().find(|place| {
                    place.proxy == named.name
                        && place.family == family
                        && place.port == port
                        && place.user == named.proxy.user
                });
                let fresh = || Place {
                    proxy: named.name.clone(),
                    number,
                    family,
                    port,
                    user: named.proxy.user,
                    cookie: 0,
                    found: None,
                    looked: Instant::now(),
                    registered: None,
                };
                let mut place = known.cloned().unwrap_or_else(fresh);
                place.number = number;
                place.registered = None;
                places.push(place);
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
        Ok(if self.active.places.iter().any(Place::is_absent) {
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
        let Some(hierarchy) = self.hierarchy.clone() else {
            return Ok(());
        };
        let sockets = if generation.places.is_empty() {
            Vec::new()
        } else {
            listening::sockets()?
        };
        let set = generation.set;
        let there = kernel.maps.lock().proxy_listeners(set);
        let named: HashSet<ListenerKey> = generation
            .places
            .iter()
            .map(|place| place.key(kernel.netns, set))
            .collect();
        // Of another generation that had this set, or of a daemon before this one.
        for key in there.difference(&named) {
            kernel.maps.lock().unregister_proxy(key);
        }
        for place in &mut generation.places {
            let before = place.gist();
            place.look(&sockets, &hierarchy);
            let key = place.key(kernel.netns, set);
            let registered = there.contains(&key) && place.registered == Some(place.cookie);
            match place.serving().cloned() {
                Some(_) if registered => {}
                Some(owner) => {
                    let socket = sockets.iter().find(|socket| socket.cookie == place.cookie);
                    let taken = socket
                        .ok_or(Unfit::Replaced { pid: owner.pid() })
                        .and_then(|socket| self.admit(kernel, &hierarchy, &key, &owner, socket));
                    place.registered = Some(place.cookie);
                    if let Err(unfit) = taken {
                        place.found = Some(Err(unfit));
                        place.give_up(kernel, &key);
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
