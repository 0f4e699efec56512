//! Every map; the functions here and below `maps/` are the only ones that touch them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage,
        SockHash, lpm_trie::Key,
    },
    helpers::generated as helpers,
    macros::btf_map,
};
use sidetrack_abi::{
    Address, Endpoint, FlowKey, ListenerKey, OwnSocket, Redirected,
    counter::{COUNTERS as COUNTER_COUNT, Counter},
    decision::Tables,
    event::{EVENT_BUFFER, Refused, ToldDenials},
    executable::{ExecutableKey, ExecutableStep},
    flow::proxy_slot,
    inbound::{InboundPort, ListeningKey, LocalKey},
    names::{
        CGROUP_ENTRIES, DESTINATION_ENTRIES, EXECUTABLE_ENTRIES, LISTENER_ENTRIES,
        LISTENING_ENTRIES, LOCAL_ENTRIES, NAMESPACE_ENTRIES, PENDING_ENTRIES, PORT_ENTRIES,
        PROXY_CGROUP_ENTRIES, RULE_ENTRIES, SOURCE_ENTRIES, STAGE_ENTRIES,
    },
    namespace::{NamespaceFacts, SourceKey},
    rules::{CgroupClass, DestinationKey, RULE_SETS, Rule, RuleKey, StageKey},
    settings::Settings,
};

mod listeners;
mod listening;
mod namespaces;
mod storage;

pub(super) use listeners::Listener;
pub(super) use listening::{add_listening, listening, remove_listening};
pub(super) use namespaces::{Served, has_mptcp, routed_source};
pub(super) use storage::{
    accepted, client, forget_client, is_new_denial, own, served, set_accepted, set_client,
    set_served,
};

/// Memory only for what is there: the capacities are bounds, not sizes.
const SPARSE: usize = BPF_F_NO_PREALLOC as usize;
const SETS: usize = RULE_SETS as usize;

#[btf_map]
static ACTIVE: Array<u32, 1> = Array::new();
#[btf_map]
static HEARTBEAT: Array<u64, 1> = Array::new();
#[btf_map]
static SETTINGS: Array<Settings, SETS> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<u64, COUNTER_COUNT> = PerCpuArray::new();
#[btf_map]
static EVENTS: RingBuf<Refused, EVENT_BUFFER> = RingBuf::new();
#[btf_map]
static LISTENERS: SockHash<ListenerKey, LISTENER_ENTRIES> = SockHash::new();
#[btf_map]
static INBOUND_LISTENERS: SockHash<ListenerKey, LISTENER_ENTRIES> = SockHash::new();
#[btf_map]
static PENDING: LruHashMap<FlowKey, Redirected, PENDING_ENTRIES> = LruHashMap::new();
#[btf_map]
static FORWARD: LruHashMap<FlowKey, Endpoint, PENDING_ENTRIES> = LruHashMap::new();
#[btf_map]
static DIALLED: LruHashMap<FlowKey, Endpoint, PENDING_ENTRIES> = LruHashMap::new();
#[btf_map]
static CLIENT: SkStorage<Redirected> = SkStorage::new();
#[btf_map]
static ACCEPTED: SkStorage<Redirected> = SkStorage::new();
#[btf_map]
static OWN: SkStorage<OwnSocket> = SkStorage::new();
#[btf_map]
static SERVED: SkStorage<Endpoint> = SkStorage::new();
#[btf_map]
static TOLD: SkStorage<ToldDenials> = SkStorage::new();
#[btf_map]
static PROXY_CGROUPS: HashMap<u64, u32, PROXY_CGROUP_ENTRIES, SPARSE> = HashMap::new();
#[btf_map]
static CGROUPS: ArrayOfMaps<HashMap<u64, CgroupClass, CGROUP_ENTRIES, SPARSE>, SETS> =
    ArrayOfMaps::new();
#[btf_map]
static STAGES: ArrayOfMaps<HashMap<StageKey, u32, STAGE_ENTRIES, SPARSE>, SETS> =
    ArrayOfMaps::new();
#[btf_map]
static EXECUTABLES: ArrayOfMaps<
    HashMap<ExecutableKey, ExecutableStep, EXECUTABLE_ENTRIES, SPARSE>,
    SETS,
> = ArrayOfMaps::new();
#[btf_map]
static DESTINATIONS: ArrayOfMaps<LpmTrie<DestinationKey, u32, DESTINATION_ENTRIES>, SETS> =
    ArrayOfMaps::new();
#[btf_map]
static RULES: ArrayOfMaps<LpmTrie<RuleKey, Rule, RULE_ENTRIES>, SETS> = ArrayOfMaps::new();
#[btf_map]
static PORTS: ArrayOfMaps<HashMap<u32, InboundPort, PORT_ENTRIES, SPARSE>, SETS> =
    ArrayOfMaps::new();
#[btf_map]
static LISTENING: HashMap<ListeningKey, u64, LISTENING_ENTRIES, SPARSE> = HashMap::new();
#[btf_map]
static LOCAL: HashMap<LocalKey, u32, LOCAL_ENTRIES, SPARSE> = HashMap::new();
#[btf_map]
static SOURCES: LpmTrie<SourceKey, Address, SOURCE_ENTRIES> = LpmTrie::new();
#[btf_map]
static NAMESPACES: HashMap<u64, NamespaceFacts, NAMESPACE_ENTRIES, SPARSE> = HashMap::new();

/// Counts one event.
#[inline(always)]
pub(super) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's own slot, and programs are not preempted by each other on it.
        unsafe { *value += 1 };
    }
}

/// Whether the proxy's data path has moved lately. A listener alone does not tell: a process that
/// is stopped or hangs keeps its own.
#[inline(always)]
pub(super) fn is_proxy_alive(settings: &Settings) -> bool {
    let Some(beat) = HEARTBEAT.get(0) else {
        return false;
    };
    // SAFETY: user space writes the aligned word at any time; one volatile read sees it whole.
    let beat = unsafe { core::ptr::read_volatile(beat) };
    // SAFETY: a helper without arguments: CLOCK_MONOTONIC, as user space wrote it.
    let now = unsafe { helpers::bpf_ktime_get_ns() };
    // A beat of this very moment may be the younger of the two; one of the far future is of another
    // clock, and says nothing.
    now.abs_diff(beat) <= settings.alive_for
}

/// Tells user space of a connection that was refused here.
#[inline(always)]
pub(super) fn tell(refused: &Refused) {
    if EVENTS.output(*refused, 0).is_err() {
        count(Counter::EventLost);
    }
}

/// The active rule set. A program reads which one it is once; it then stays whole for as long as
/// the program runs, since a reload fills the other one and waits before it fills this again.
#[derive(Clone, Copy)]
pub(super) struct RuleSet {
    index: u32,
}

impl RuleSet {
    /// None before user space has written one, when nothing is redirected.
    #[inline(always)]
    pub(super) fn active() -> Option<(Self, &'static Settings)> {
        let index = *ACTIVE.get(0)?;
        let settings = SETTINGS.get(index)?;
        if settings.generation == 0 {
            return None;
        }
        Some((Self { index }, settings))
    }

    /// For functions that can take a number only; see [`Self::at`].
    #[inline(always)]
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// The set that had this [`Self::index`].
    #[inline(always)]
    pub(super) fn at(index: u32) -> Self {
        Self { index }
    }

    /// Classes of a cgroup that user space knows.
    #[inline(always)]
    pub(super) fn cgroup_class(self, cgroup: u64) -> Option<CgroupClass> {
        let set = CGROUPS.get(self.index)?;
        // SAFETY: a copy of a value that is not changed and not removed while its cgroup is there,
        // which it is while the task that asks is in it.
        set.get_ptr(cgroup).map(|class| unsafe { *class })
    }

    /// Slot of the listener of somebody else's proxy, by its number in this set.
    #[inline(always)]
    pub(super) fn proxy_slot(self, number: u16) -> u32 {
        proxy_slot(self.index, number)
    }

    /// The class that a stage gives.
    #[inline(always)]
    pub(super) fn staged(self, key: &StageKey) -> Option<u32> {
        let set = STAGES.get(self.index)?;
        // SAFETY: a copy of a word that is only ever replaced whole.
        set.get_ptr(key).map(|class| unsafe { *class })
    }

    /// Where a name of an executable's path leads.
    #[inline(always)]
    pub(super) fn executable_step(self, key: &ExecutableKey) -> Option<ExecutableStep> {
        let set = EXECUTABLES.get(self.index)?;
        // SAFETY: the map is filled before it becomes active and not changed after.
        set.get_ptr(key).map(|step| unsafe { *step })
    }

    #[inline(always)]
    pub(super) fn inbound_port(self, port: u16) -> Option<InboundPort> {
        let set = PORTS.get(self.index)?;
        // SAFETY: the map is filled before it becomes active and not changed after.
        set.get_ptr(u32::from(port)).map(|value| unsafe { *value })
    }
}

impl Tables for RuleSet {
    #[inline(always)]
    fn destination_class(&self, address: &Address) -> Option<u32> {
        let key = Key::new(128, DestinationKey { address: *address });
        DESTINATIONS.get(self.index)?.get(&key).copied()
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<Rule> {
        let key = Key::new(RuleKey::BITS, *key);
        RULES.get(self.index)?.get(&key).copied()
    }
}

/// Notes a redirected flow before its SYN leaves.
#[inline(always)]
pub(super) fn note_pending(key: &FlowKey, value: &Redirected) -> bool {
    PENDING.insert(key, value, 0).is_ok()
}

/// Takes what was noted of a flow.
#[inline(always)]
pub(super) fn take_pending(key: &FlowKey) -> Option<Redirected> {
    // SAFETY: copied at once; an entry that is evicted meanwhile belongs to a flow that the
    // proxy will close for want of it.
    let value = PENDING.get_ptr(key).map(|value| unsafe { *value })?;
    forget_pending(key);
    Some(value)
}

/// Removes what was noted of a flow.
#[inline(always)]
pub(super) fn forget_pending(key: &FlowKey) {
    let _ = PENDING.remove(key);
}

/// Notes for whom the proxy connects to an application.
#[inline(always)]
pub(super) fn note_forward(key: &FlowKey, client: &Endpoint) -> bool {
    FORWARD.insert(key, client, 0).is_ok()
}

/// Takes for whom the proxy connected.
#[inline(always)]
pub(super) fn take_forward(key: &FlowKey) -> Option<Endpoint> {
    // SAFETY: as in `take_pending`.
    let value = FORWARD.get_ptr(key).map(|value| unsafe { *value })?;
    forget_forward(key);
    Some(value)
}

/// Removes for whom the proxy connects.
#[inline(always)]
pub(super) fn forget_forward(key: &FlowKey) {
    let _ = FORWARD.remove(key);
}

/// Notes, by its flow, what a redirected socket asked for.
///
/// An MPTCP socket is two for the kernel: the one that connects, which has what was kept with it,
/// and the one that getpeername() is called on, which knows the same addresses and nothing else.
#[inline(always)]
pub(super) fn note_dialled(key: &FlowKey, destination: &Endpoint) {
    // Without memory for it getpeername() shows our listener; the connection itself is right.
    let _ = DIALLED.insert(key, destination, 0);
}

/// What the socket of a flow asked for.
#[inline(always)]
pub(super) fn dialled(key: &FlowKey) -> Option<Endpoint> {
    // SAFETY: copied at once.
    DIALLED.get_ptr(key).map(|value| unsafe { *value })
}

/// Removes what the socket of a flow asked for.
#[inline(always)]
pub(super) fn forget_dialled(key: &FlowKey) {
    let _ = DIALLED.remove(key);
}

/// Whether a flow is the proxy's own hop to an application.
#[inline(always)]
pub(super) fn is_forward(key: &FlowKey) -> bool {
    FORWARD.get_ptr(key).is_some()
}

/// Whether a cgroup is that of somebody else's proxy, so that connections are sent to it and not
/// taken from it.
#[inline(always)]
pub(super) fn is_proxy_cgroup(cgroup: u64) -> bool {
    PROXY_CGROUPS.get_ptr(cgroup).is_some()
}

/// Whether an address is one of the namespace's own.
#[inline(always)]
pub(super) fn is_local(key: &LocalKey) -> bool {
    LOCAL.get_ptr(key).is_some()
}
