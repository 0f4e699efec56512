//! The kernel side, as the rest of the proxy may ask of it.
//!
//! [`Redirector`] owns the programs, maps and links. It is made in the order that protects:
//! [`load`] (nothing attached), listeners registered, rules filled, and [`attach`] last. With
//! [`pins`], what it attached goes on without it.

use std::{
    collections::HashSet, net::IpAddr, os::fd::AsRawFd, path::PathBuf, sync::Arc, time::Duration,
};

use parking_lot::Mutex;
use sidetrack_abi::{
    ListenerKey,
    settings::{SETTING_MPTCP, SETTING_TELL_NAMESPACES},
};

pub mod attach;
pub mod btf;
pub mod cgroup;
pub mod changes;
pub mod containers;
pub mod effective;
pub mod events;
pub mod executable;
pub mod flows;
pub mod hop;
pub mod listening;
pub mod load;
pub mod local;
#[cfg(feature = "bpf-log")]
mod log;
pub mod maps;
mod namespaces;
pub mod object;
pub mod pins;
pub mod preflight;
pub(crate) mod process;
pub mod proxies;
pub mod routes;
pub mod rules;
pub mod sockdiag;
pub mod steering;
pub mod sys;

pub use attach::Attachment;
pub use flows::FlowTable;
pub use load::LoadError;
use maps::{Heartbeat, Maps};
pub use pins::{Left, Pins};
use rules::RuleTables;

use crate::socket::monotonic;

/// Something that was asked of the kernel and failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}; {advice}")]
pub struct KernelError {
    doing: String,
    advice: &'static str,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl KernelError {
    pub(crate) fn new(
        doing: impl Into<String>,
        advice: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            doing: doing.into(),
            advice,
            source: source.into(),
        }
    }
}

/// Address family of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 127.0.0.1
    V4,
    /// ::1
    V6,
}

/// Programs, maps and links of one daemon.
pub struct Redirector {
    netns: u64,
    own_cgroup: u64,
    slots: u32,
    tell_namespaces: bool,
    maps: Mutex<Maps>,
    flows: FlowTable,
    heartbeat: Arc<Heartbeat>,
    alive_for: Duration,
    programs: Mutex<load::Programs>,
    links: Mutex<Option<Attachment>>,
    proxies: Mutex<proxies::Proxies>,
    tables: arc_swap::ArcSwap<RuleTables>,
    pins: Mutex<Option<Pins>>,
}

/// What a redirector is made with.
pub struct Facts {
    /// Id of the cgroup that only this proxy's processes are in, 0 if there is none.
    pub own_cgroup: u64,
    /// Number of listeners for each family; 0 for a guard, which has none.
    pub slots: u32,
    /// Whether user space wants to be told of connects in namespaces without listeners.
    pub tell_namespaces: bool,
    /// How old the last heartbeat may be.
    pub alive_for: Duration,
    /// Where everything is pinned; without, it goes with this process.
    pub pins: Option<Pins>,
}

impl Redirector {
    /// Loads programs and maps; attaches nothing.
    ///
    /// # Errors
    /// [`LoadError`] with the verifier's words if the kernel rejects a program.
    pub fn load(facts: Facts) -> Result<Self, LoadError> {
        let netns = sys::netns_cookie().map_err(LoadError::Netns)?;
        let (programs, maps) = load::load(netns, facts.pins.as_ref())?;
        let flows = FlowTable::new(maps.flows.clone());
        let heartbeat = Arc::clone(&maps.heartbeat);
        Ok(Self {
            netns,
            own_cgroup: facts.own_cgroup,
            slots: facts.slots,
            tell_namespaces: facts.tell_namespaces,
            maps: Mutex::new(maps),
            flows,
            heartbeat,
            alive_for: facts.alive_for,
            pins: Mutex::new(facts.pins),
            programs: Mutex::new(programs),
            links: Mutex::new(None),
            proxies: Mutex::default(),
            tables: arc_swap::ArcSwap::from_pointee(RuleTables::default()),
        })
    }

    /// Cookie of the namespace that is served.
    pub fn netns(&self) -> u64 {
        self.netns
    }

    /// Id of the proxy's own cgroup, 0 if there is none.
    pub fn own_cgroup(&self) -> u64 {
        self.own_cgroup
    }

    /// The per-connection part.
    pub fn flows(&self) -> FlowTable {
        self.flows.clone()
    }

    /// The rules that are active in the kernel.
    pub fn tables(&self) -> Arc<RuleTables> {
        self.tables.load_full()
    }

    /// Registers a listener for applications' connections. The kernel removes the entry when the
    /// listener is closed.
    pub fn register_outbound(
        &self,
        listener: &impl AsRawFd,
        family: Family,
        slot: u32,
    ) -> Result<(), KernelError> {
        let key = listener_key(self.netns, family, slot);
        self.maps.lock().register_outbound(&key, listener)
    }

    /// Registers a listener for connections from outside.
    pub fn register_inbound(
        &self,
        listener: &impl AsRawFd,
        family: Family,
        slot: u32,
    ) -> Result<(), KernelError> {
        let key = listener_key(self.netns, family, slot);
        self.maps.lock().register_inbound(&key, listener)
    }

    /// Whether a listener of this family was registered, and not taken out again.
    pub fn is_listening(&self, family: Family) -> bool {
        let family = listener_key(self.netns, family, 0).family;
        self.maps.lock().is_registered(self.netns, family)
    }

    /// Takes all listeners out of the registry: rules that need one fail their connects from
    /// here on. Connections that were redirected before can still be accepted.
    pub fn unregister(&self) {
        self.proxies.lock().close();
        self.maps.lock().unregister();
    }

    /// Makes `tables` the active rules, all at once.
    pub fn activate(&self, tables: impl Into<Arc<RuleTables>>) -> Result<(), KernelError> {
        let tables = tables.into();
        self.can_tell_executables(&tables)?;
        let mut proxies = self.proxies.lock();
        let set = self.maps.lock().inactive_set();
        proxies.prepare(self.kernel(), set, &tables.proxies)?;
        let mut maps = self.maps.lock();
        let proxy = maps::ProxyFacts {
            own_cgroup: self.own_cgroup,
            netns: self.netns,
            slots: self.slots,
            alive_for: self.alive_for,
            flags: flag(local::has_mptcp(), SETTING_MPTCP)
                | flag(self.tell_namespaces, SETTING_TELL_NAMESPACES),
        };
        maps.activate(&tables, &proxy)?;
        proxies.commit();
        self.tables.store(tables);
        Ok(())
    }

    /// Rules for an executable would be for nobody.
    fn can_tell_executables(&self, tables: &RuleTables) -> Result<(), KernelError> {
        let programs = self.programs.lock();
        match &programs.no_executables {
            Some(why) if tables.asks_for_executables() => Err(KernelError::new(
                "selecting connections by executable, as a selection's exe asks",
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y, not locked down to confidentiality, and \
                 give CAP_PERFMON; or select by cgroup or user (`sidetrack doctor` tells what is \
                 missing)",
                std::io::Error::other(format!("the programs cannot tell executables, {why}")),
            )),
            _ => Ok(()),
        }
    }

    /// Looks again which cgroups exist, and tells the kernel of new ones.
    pub fn refresh_cgroups(&self, changed: &cgroup::watch::Changed) -> Result<(), KernelError> {
        // The tables under the lock: those of before a reload are not for what it has filled.
        let mut maps = self.maps.lock();
        maps.refresh_cgroups(&self.tables.load(), changed)
    }

    /// Tells, of the rules that are activated from here on, when cgroups appear or go.
    ///
    /// # Errors
    /// The user has too many inotify instances; cgroups are then only found by looking again.
    pub fn watch_cgroups(&self) -> std::io::Result<Arc<cgroup::watch::Watch>> {
        let watch = Arc::new(cgroup::watch::Watch::new()?);
        self.maps.lock().watch_cgroups(Arc::clone(&watch));
        Ok(watch)
    }

    /// Tells the kernel which addresses are this host's own and which source it would use where.
    /// The own addresses are returned.
    pub fn refresh_addresses(&self) -> Result<Vec<IpAddr>, KernelError> {
        let local = local::Facts::of_this_thread(local::Whose::Own)?;
        let mut maps = self.maps.lock();
        maps.set_addresses(self.netns, &local.own, &local.sources)?;
        maps.set_absent_families(local.absent_families())?;
        Ok(local.own)
    }

    /// Compares the counted listening sockets with the kernel's own list and mends the counts.
    ///
    /// `governed` are the ids of the cgroups in which programs are attached; `None` is all.
    pub fn reconcile_listening(
        &self,
        sockets: &[sockdiag::Listening],
        governed: Option<&HashSet<u64>>,
        mend: listening::Mend<'_>,
    ) -> Result<(), KernelError> {
        self.reconcile_listening_in(self.netns, sockets, governed, mend)
    }

    /// Tells the programs when the data path was last seen to move, in nanoseconds of
    /// CLOCK_MONOTONIC.
    pub fn beat(&self, at: u64) -> Result<(), KernelError> {
        self.heartbeat.beat(at)
    }

    /// Attaches everything: from here on connections are redirected.
    ///
    /// # Errors
    /// What was attached before stays, and nothing else, if any part fails.
    pub fn attach(&self, points: &attach::Points) -> Result<(), KernelError> {
        let pins = self.pins.lock();
        let mut proxies = self.proxies.lock();
        // Whoever attaches and goes away sends nothing to the proxies of others either.
        if points.proxy.is_some() {
            let mount = self.maps.lock().mount().to_path_buf();
            proxies.begin(&mount, &points.governed);
            proxies.look(self.kernel())?;
        }
        match self.programs.lock().attach(points, pins.as_ref()) {
            Ok(attachment) => {
                *self.links.lock() = Some(attachment);
                Ok(())
            }
            Err(error) => {
                proxies.detach();
                Err(error)
            }
        }
    }

    /// Looks whether the proxies of others are there, and registers those that have come.
    pub fn look_at_proxies(&self) -> Result<proxies::Look, KernelError> {
        self.proxies.lock().look(self.kernel())
    }

    /// The proxies of others, as of the last look.
    pub fn proxies(&self) -> Vec<proxies::ProxyListener> {
        self.proxies.lock().report()
    }

    fn kernel(&self) -> proxies::Kernel<'_> {
        proxies::Kernel {
            maps: &self.maps,
            programs: &self.programs,
            netns: self.netns,
        }
    }

    /// Says what is to be left in the kernel; without this, or without pins, what was found.
    pub fn will_leave(&self, left: Left) {
        if let Some(pins) = self.pins.lock().as_mut() {
            pins.will_leave(left);
        }
    }

    /// Ends as [`Redirector::will_leave`] said: with [`Left::InForce`] the programs go on, and
    /// without pins they never do.
    pub fn end(&self) {
        let mut held = self.pins.lock();
        let removed = held.take_if(|pins| pins.left() != Left::InForce);
        self.links.lock().take();
        self.proxies.lock().detach();
        drop(removed);
    }

    /// What the kernel says is attached and effective. It is asked for `cgroups` too.
    pub fn proof(&self, cgroups: &[PathBuf]) -> effective::Proof {
        // In the order of `attach`.
        let pins = self.pins.lock();
        let proxies = self.proxies.lock();
        let programs = self.programs.lock();
        let links = self.links.lock();
        let mut proof = effective::Proof::default();
        if let Some(links) = links.as_ref() {
            proof.of(links, &programs, pins.as_ref(), cgroups);
        }
        proof.programs.extend(proxies.effective(&programs));
        // The tables under the lock, with what they were filled into.
        let maps = self.maps.lock();
        proof
            .faults
            .extend(maps.faults(&self.tables.load(), monotonic()));
        drop(maps);
        proof
    }

    /// Counters of the programs, summed over the CPUs.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.maps.lock().counters()
    }

    /// Entries in the maps that hold connections in the making, for leak checks.
    pub fn occupancy(&self) -> maps::Occupancy {
        self.maps.lock().occupancy()
    }

    /// The ring buffer of refusals, once.
    pub fn take_events(&self) -> Option<events::RefusedEvents> {
        self.maps.lock().take_events()
    }
}

fn listener_key(netns: u64, family: Family, slot: u32) -> ListenerKey {
    let family = match family {
        Family::V4 => sidetrack_abi::flow::FAMILY_V4,
        Family::V6 => sidetrack_abi::flow::FAMILY_V6,
    };
    ListenerKey {
        netns,
        family,
        slot,
    }
}

fn flag(is_set: bool, flag: u32) -> u32 {
    if is_set { flag } else { 0 }
}
