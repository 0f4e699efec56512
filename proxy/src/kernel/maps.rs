//! Typed handles of the maps.

use std::{
    collections::HashMap as StdHashMap,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf,
        SockHash, lpm_trie::Key,
    },
};
use ipnet::IpNet;
use sidetrack_abi::{
    Address, Endpoint, FlowKey, ListenerKey, Redirected,
    counter::Counter,
    executable::{ExecutableKey, ExecutableStep},
    inbound::{InboundPort, ListeningKey, LocalKey},
    names::{DESTINATION_ENTRIES, EXECUTABLE_ENTRIES, PORT_ENTRIES, map},
    namespace::{NamespaceFacts, SourceKey},
    rules::{DestinationKey, RULE_SETS, Rule, RuleKey, StageKey},
    settings::Settings,
};

use super::{
    KernelError,
    cgroup::watch::{Changed, Watch},
    events::RefusedEvents,
    flows::FlowMaps,
    listening::{self, Discrepancy, Mend},
    rules::RuleTables,
};

mod addresses;
mod cgroups;
mod check;
mod classes;
mod entries;
mod heartbeat;
mod namespaces;
pub mod pinned;
mod proxies;
mod slots;
mod together;

use cgroups::Cgroups;
use check::Registry;
use classes::Classes;
use entries::destinations_fit;
pub(super) use heartbeat::Heartbeat;
use slots::Slots;
use together::together;

/// `BPF_F_NO_PREALLOC`: memory only for what is there.
const NO_PREALLOC: u32 = 1;

/// How many connections in the making the maps hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Occupancy {
    /// Redirected and not yet accepted by the proxy.
    pub pending: usize,
    /// Hops to applications that have not accepted yet.
    pub forward: usize,
}

type Sets<M> = ArrayOfMaps<MapData, M>;

/// The tables of a rule set that stay as they were filled.
struct Filled {
    executables: HashMap<MapData, ExecutableKey, ExecutableStep>,
    destinations: LpmTrie<MapData, DestinationKey, u32>,
    ports: HashMap<MapData, u32, InboundPort>,
}

/// What the programs are told of the proxy.
#[derive(Clone, Copy)]
pub(super) struct ProxyFacts {
    pub(super) own_cgroup: u64,
    pub(super) netns: u64,
    pub(super) slots: u32,
    pub(super) alive_for: Duration,
    /// `SETTING_*` that are the host's and not the rules'.
    pub(super) flags: u32,
}

pub(super) struct Maps {
    pub(super) flows: Arc<FlowMaps>,
    pub(super) heartbeat: Arc<Heartbeat>,
    active_set: Array<MapData, u32>,
    settings: Array<MapData, Settings>,
    counters: PerCpuArray<MapData, u64>,
    listeners: SockHash<MapData, ListenerKey>,
    inbound_listeners: SockHash<MapData, ListenerKey>,
    pending: HashMap<MapData, FlowKey, Redirected>,
    forward: HashMap<MapData, FlowKey, Endpoint>,
    listening: HashMap<MapData, ListeningKey, u64>,
    local: HashMap<MapData, LocalKey, u32>,
    sources: LpmTrie<MapData, SourceKey, Address>,
    namespaces: HashMap<MapData, u64, NamespaceFacts>,
    proxy_cgroups: HashMap<MapData, u64, u32>,
    cgroups: Cgroups,
    stages: Sets<HashMap<MapData, StageKey, u32>>,
    executables: Sets<HashMap<MapData, ExecutableKey, ExecutableStep>>,
    destinations: Sets<LpmTrie<MapData, DestinationKey, u32>>,
    rules: Sets<LpmTrie<MapData, RuleKey, Rule>>,
    ports: Sets<HashMap<MapData, u32, InboundPort>>,
    slots: Slots,
    /// Tables of the active set that do not change.
    filled: Option<Filled>,
    /// What `NAMESPACES` is to hold.
    served: StdHashMap<u64, NamespaceFacts>,
    /// Listeners that are to be in the registries.
    registered: Vec<(Registry, ListenerKey)>,
    active: u32,
    /// Settings of the active set, and those of its flags that are the host's.
    active_settings: Settings,
    absent: u32,
    events: Option<RingBuf<MapData>>,
}

fn filling(error: MapError) -> KernelError {
    KernelError::new(
        "filling the kernel's rule tables",
        "more rules, prefixes or cgroups than the tables hold, or no memory",
        error,
    )
}

fn taken<T: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, name: &str) -> Result<T, MapError> {
    bpf.take_map(name)
        .ok_or_else(|| MapError::InvalidName { name: name.into() })?
        .try_into()
}

impl Maps {
    pub(super) fn take(bpf: &mut Ebpf, mount: PathBuf) -> Result<Self, MapError> {
        let active_set: Array<MapData, u32> = taken(bpf, map::ACTIVE)?;
        Ok(Self {
            slots: Slots::of(bpf)?,
            heartbeat: Arc::new(Heartbeat::new(taken(bpf, map::HEARTBEAT)?)),
            // Pinned maps may hold rules that are in force.
            active: active_set.get(&0, 0)?,
            flows: Arc::new(FlowMaps::new(
                taken(bpf, map::ACCEPTED)?,
                taken(bpf, map::OWN)?,
            )),
            active_set,
            settings: taken(bpf, map::SETTINGS)?,
            counters: taken(bpf, map::COUNTERS)?,
            listeners: taken(bpf, map::LISTENERS)?,
            inbound_listeners: taken(bpf, map::INBOUND_LISTENERS)?,
            pending: taken(bpf, map::PENDING)?,
            forward: taken(bpf, map::FORWARD)?,
            listening: taken(bpf, map::LISTENING)?,
            local: taken(bpf, map::LOCAL)?,
            sources: taken(bpf, map::SOURCES)?,
            namespaces: taken(bpf, map::NAMESPACES)?,
            proxy_cgroups: taken(bpf, map::PROXY_CGROUPS)?,
            cgroups: Cgroups::take(bpf, mount)?,
            stages: taken(bpf, map::STAGES)?,
            executables: taken(bpf, map::EXECUTABLES)?,
            destinations: taken(bpf, map::DESTINATIONS)?,
            rules: taken(bpf, map::RULES)?,
            ports: taken(bpf, map::PORTS)?,
            filled: None,
            served: StdHashMap::new(),
            registered: Vec::new(),
            active_settings: Settings::default(),
            absent: 0,
            events: Some(taken(bpf, map::EVENTS)?),
        })
    }

    pub(super) fn register_outbound(
        &mut self,
        key: &ListenerKey,
        listener: &impl AsRawFd,
    ) -> Result<(), KernelError> {
        register(&mut self.listeners, key, listener)?;
        self.registered.push((Registry::Outbound, *key));
        Ok(())
    }

    /// Gone already if it was closed meanwhile.
    pub(super) fn unregister_outbound(&mut self, key: &ListenerKey) {
        let _ = self.listeners.remove(key);
        self.registered.retain(|(_, registered)| registered != key);
    }

    pub(super) fn register_inbound(
        &mut self,
        key: &ListenerKey,
        listener: &impl AsRawFd,
    ) -> Result<(), KernelError> {
        register(&mut self.inbound_listeners, key, listener)?;
        self.registered.push((Registry::Inbound, *key));
        Ok(())
    }

    pub(super) fn unregister(&mut self) {
        self.registered.clear();
        for map in [&mut self.listeners, &mut self.inbound_listeners] {
            let keys: Vec<ListenerKey> = map.keys().filter_map(Result::ok).collect();
            for key in keys {
                // Gone already if its listener was closed meanwhile.
                let _ = map.remove(&key);
            }
        }
    }

    pub(super) fn mount(&self) -> &Path {
        self.cgroups.mount()
    }

    pub(super) fn inactive_set(&self) -> u32 {
        (self.active + 1) % RULE_SETS
    }

    /// Fills the inactive rule set and then switches to it: a program that is running keeps the
    /// set that it began with.
    pub(super) fn activate(
        &mut self,
        tables: &RuleTables,
        proxy: &ProxyFacts,
    ) -> Result<(), KernelError> {
        destinations_fit(tables)?;
        let next = self.inactive_set();
        let mut destinations =
            LpmTrie::create(DESTINATION_ENTRIES as u32, NO_PREALLOC).map_err(filling)?;
        for (net, class) in &tables.destinations {
            destinations
                .insert(&destination_key(*net), class, 0)
                .map_err(filling)?;
        }
        let mut executables =
            HashMap::create(EXECUTABLE_ENTRIES as u32, NO_PREALLOC).map_err(filling)?;
        for (key, step) in tables.executable_steps() {
            executables.insert(key, step, 0).map_err(filling)?;
        }
        let mut classes = Classes::create().map_err(filling)?;
        let cgroups = self.cgroups.fill(tables, &mut classes)?;
        let mut ports = HashMap::create(PORT_ENTRIES as u32, NO_PREALLOC).map_err(filling)?;
        for (port, value) in &tables.ports {
            ports.insert(u32::from(*port), value, 0).map_err(filling)?;
        }
        together([
            &mut || self.destinations.set(next, &destinations, 0),
            &mut || self.executables.set(next, &executables, 0),
            &mut || self.cgroups.put(next, &cgroups),
            &mut || self.stages.set(next, classes.stages(), 0),
            &mut || self.rules.set(next, classes.rules(), 0),
            &mut || self.ports.set(next, &ports, 0),
        ])
        .map_err(filling)?;

        let settings = Settings {
            own_cgroup: proxy.own_cgroup,
            netns: proxy.netns,
            generation: tables.generation,
            slots: proxy.slots,
            flags: tables.flags | self.absent | proxy.flags,
            alive_for: u64::try_from(proxy.alive_for.as_nanos()).unwrap_or(u64::MAX),
            zero: 0,
        };
        self.settings.set(next, settings, 0).map_err(filling)?;
        self.active_set.set(0, next, 0).map_err(filling)?;
        self.active = next;
        self.active_settings = settings;
        self.cgroups.activated(cgroups, classes);
        self.filled = Some(Filled {
            executables,
            destinations,
            ports,
        });
        Ok(())
    }

    /// Follows cgroups that have appeared or gone.
    pub(super) fn refresh_cgroups(
        &mut self,
        tables: &RuleTables,
        changed: &Changed,
    ) -> Result<(), KernelError> {
        self.cgroups.refresh(tables, changed)
    }

    /// Has folders of cgroups told to `watch`.
    pub(super) fn watch_cgroups(&mut self, watch: Arc<Watch>) {
        self.cgroups.tell(watch);
    }

    pub(super) fn reconcile_listening(
        &mut self,
        netns: u64,
        truth: &listening::Counts,
        mend: Mend<'_>,
    ) -> Result<(), KernelError> {
        let counted: StdHashMap<ListeningKey, u64> =
            self.listening.iter().filter_map(Result::ok).collect();
        let found = listening::corrections(netns, &counted, truth);
        let wrong = match mend {
            Mend::AtOnce => found,
            Mend::SeenTwice(suspects) => suspects.confirmed(found),
        };
        for Discrepancy { key, truth, .. } in wrong {
            match truth {
                Some(count) => self.listening.insert(key, count, 0).map_err(filling)?,
                None => {
                    let _ = self.listening.remove(&key);
                }
            }
        }
        Ok(())
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        Counter::ALL
            .iter()
            .map(|counter| {
                let sum = self
                    .counters
                    .get(&(*counter as u32), 0)
                    .map(|values| values.iter().sum())
                    .unwrap_or_default();
                (counter.label(), sum)
            })
            .collect()
    }

    pub(super) fn occupancy(&self) -> Occupancy {
        Occupancy {
            pending: self.pending.keys().filter(Result::is_ok).count(),
            forward: self.forward.keys().filter(Result::is_ok).count(),
        }
    }

    pub(super) fn take_events(&mut self) -> Option<RefusedEvents> {
        self.events.take().map(|ring| RefusedEvents { ring })
    }
}

/// An IPv4 prefix lies 96 bits deeper, where the mapped addresses are.
fn destination_key(net: IpNet) -> Key<DestinationKey> {
    let length = match net {
        IpNet::V4(net) => 96 + u32::from(net.prefix_len()),
        IpNet::V6(net) => u32::from(net.prefix_len()),
    };
    Key::new(
        length,
        DestinationKey {
            address: net.network().into(),
        },
    )
}

fn register(
    map: &mut SockHash<MapData, ListenerKey>,
    key: &ListenerKey,
    listener: &impl AsRawFd,
) -> Result<(), KernelError> {
    map.insert(key, listener.as_raw_fd(), 0).map_err(|error| {
        KernelError::new(
            "registering a listener",
            "the kernel refused it as a map entry",
            error,
        )
    })
}
