//! Every map, and the only functions that touch them.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr::null_mut,
};

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
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
    event::{EVENT_BUFFER, Refused},
    inbound::{InboundPort, ListeningKey, LocalKey},
    names::{
        CGROUP_ENTRIES, DESTINATION_ENTRIES, LISTENER_ENTRIES, LISTENING_ENTRIES, LOCAL_ENTRIES,
        PENDING_ENTRIES, PORT_ENTRIES, RULE_ENTRIES, SOURCE_ENTRIES, USER_ENTRIES,
    },
    rules::{DestinationKey, RULE_SETS, Rule, RuleKey, UserKey},
    settings::Settings,
};

use super::ctx::Sock;

/// Memory only for what is there: the capacities are bounds, not sizes.
const SPARSE: usize = BPF_F_NO_PREALLOC as usize;
const SETS: usize = RULE_SETS as usize;

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
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
static CLIENT: SkStorage<Redirected> = SkStorage::new();
#[btf_map]
static ACCEPTED: SkStorage<Redirected> = SkStorage::new();
#[btf_map]
static OWN: SkStorage<OwnSocket> = SkStorage::new();
#[btf_map]
static SERVED: SkStorage<Endpoint> = SkStorage::new();
#[btf_map]
static CGROUPS: ArrayOfMaps<HashMap<u64, u32, CGROUP_ENTRIES, SPARSE>, SETS> = ArrayOfMaps::new();
#[btf_map]
static USERS: ArrayOfMaps<HashMap<UserKey, u32, USER_ENTRIES, SPARSE>, SETS> = ArrayOfMaps::new();
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
static SOURCES: LpmTrie<DestinationKey, Address, SOURCE_ENTRIES> = LpmTrie::new();

/// Counts one event.
#[inline(always)]
pub(super) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: this CPU's own slot, and programs are not preempted by each other on it.
        unsafe { *value += 1 };
    }
}

/// Tells user space of a connection that was refused here.
#[inline(always)]
pub(super) fn tell(refused: &Refused) {
    if EVENTS.output(*refused, 0).is_err() {
        count(Counter::EventLost);
    }
}

/// The settings; none before user space has written them, when nothing is redirected.
#[inline(always)]
pub(super) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0).filter(|settings| settings.generation != 0)
}

/// The active rule set. It stays whole while a program holds it: a reload fills the other one.
#[derive(Clone, Copy)]
pub(super) struct RuleSet {
    index: u32,
}

impl RuleSet {
    #[inline(always)]
    pub(super) fn active(settings: &Settings) -> Self {
        Self {
            index: settings.active,
        }
    }

    /// Class of a cgroup that the rules name.
    #[inline(always)]
    pub(super) fn cgroup_class(self, cgroup: u64) -> Option<u32> {
        let set = CGROUPS.get(self.index)?;
        // SAFETY: a copy of a word that is only ever replaced whole.
        set.get_ptr(cgroup).map(|class| unsafe { *class })
    }

    #[inline(always)]
    pub(super) fn user_class(self, key: &UserKey) -> Option<u32> {
        let set = USERS.get(self.index)?;
        // SAFETY: a copy of a word that is only ever replaced whole.
        set.get_ptr(key).map(|class| unsafe { *class })
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

/// A listener that the kernel looked up; released when dropped, as the verifier demands.
pub(super) struct Listener(*mut bpf_sock);

impl Listener {
    #[inline(always)]
    fn find(map: *mut core::ffi::c_void, key: &ListenerKey) -> Option<Self> {
        // SAFETY: a lookup in a socket map gives a referenced socket or null.
        let raw = unsafe { helpers::bpf_map_lookup_elem(map, (&raw const *key).cast()) };
        if raw.is_null() {
            None
        } else {
            Some(Self(raw.cast()))
        }
    }

    /// The proxy's listener for connections of this host's applications. Its entry is gone as
    /// soon as the listener is closed: this is registry, port and sign of life in one.
    #[inline(always)]
    pub(super) fn outbound(key: &ListenerKey) -> Option<Self> {
        Self::find((&raw const LISTENERS).cast_mut().cast(), key)
    }

    /// The proxy's listener for connections from outside.
    #[inline(always)]
    pub(super) fn inbound(key: &ListenerKey) -> Option<Self> {
        Self::find((&raw const INBOUND_LISTENERS).cast_mut().cast(), key)
    }

    /// In host order.
    #[inline(always)]
    pub(super) fn port(&self) -> u16 {
        // SAFETY: the socket is referenced until drop.
        (unsafe { core::ptr::read_volatile(&raw const (*self.0).src_port) }) as u16
    }

    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *mut bpf_sock {
        self.0
    }
}

impl Drop for Listener {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the reference that `find` took.
        unsafe { helpers::bpf_sk_release(self.0.cast()) };
    }
}

/// What is kept with a socket in `map`, if anything.
#[inline(always)]
fn stored<T: Copy>(map: &SkStorage<T>, sock: Sock) -> Option<T> {
    // SAFETY: a helper of every program type that calls this; null if there is nothing.
    let found = unsafe {
        helpers::bpf_sk_storage_get(
            core::ptr::from_ref(map).cast_mut().cast(),
            sock.as_ptr().cast(),
            null_mut(),
            0,
        )
    }
    .cast::<T>();
    // SAFETY: not null, and lives as long as the socket, which the program holds.
    if found.is_null() {
        None
    } else {
        Some(unsafe { *found })
    }
}

/// Keeps `value` with a socket in `map`; false without memory.
#[inline(always)]
fn store<T: Copy>(map: &SkStorage<T>, sock: Sock, value: &T) -> bool {
    // SAFETY: as above. The initial value of the helper would be taken only when it creates, so
    // that a socket's second connection would keep the destination of its first.
    let found = unsafe {
        helpers::bpf_sk_storage_get(
            core::ptr::from_ref(map).cast_mut().cast(),
            sock.as_ptr().cast(),
            null_mut(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
    }
    .cast::<T>();
    if found.is_null() {
        return false;
    }
    // SAFETY: not null and as large as the value.
    unsafe { *found = *value };
    true
}

/// What a redirected client socket asked for.
#[inline(always)]
pub(super) fn client(sock: Sock) -> Option<Redirected> {
    stored(&CLIENT, sock)
}

#[inline(always)]
pub(super) fn set_client(sock: Sock, redirected: &Redirected) -> bool {
    store(&CLIENT, sock, redirected)
}

/// The socket is not redirected, or not any more.
#[inline(always)]
pub(super) fn forget_client(sock: Sock) {
    // SAFETY: a helper of this program type. Nothing to delete is no error to anybody.
    let _ = unsafe {
        helpers::bpf_sk_storage_delete((&raw const CLIENT).cast_mut().cast(), sock.as_ptr().cast())
    };
}

/// What the client of one of the proxy's accepted sockets asked for.
#[inline(always)]
pub(super) fn accepted(sock: Sock) -> Option<Redirected> {
    stored(&ACCEPTED, sock)
}

#[inline(always)]
pub(super) fn set_accepted(sock: Sock, redirected: &Redirected) -> bool {
    store(&ACCEPTED, sock, redirected)
}

/// The client of an application's accepted socket.
#[inline(always)]
pub(super) fn served(sock: Sock) -> Option<Endpoint> {
    stored(&SERVED, sock)
}

#[inline(always)]
pub(super) fn set_served(sock: Sock, client: &Endpoint) -> bool {
    store(&SERVED, sock, client)
}

/// The proxy's note on a socket of its own; user space writes it, by file descriptor.
#[inline(always)]
pub(super) fn own(sock: Sock) -> Option<OwnSocket> {
    stored(&OWN, sock)
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

/// Whether a flow is the proxy's own hop to an application.
#[inline(always)]
pub(super) fn is_forward(key: &FlowKey) -> bool {
    FORWARD.get_ptr(key).is_some()
}

/// Adds to a count that several CPUs may change at once. The target declares no atomic
/// read-modify-write, since the oldest instruction set cannot return the old value; without
/// use for that value this becomes the instruction that every kernel has.
#[inline(always)]
fn add(count: *mut u64, value: u64) {
    // SAFETY: an aligned word of a map's value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, value) };
}

/// One more socket listens at `key`.
#[inline(always)]
pub(super) fn add_listening(key: &ListeningKey) {
    if let Some(count) = LISTENING.get_ptr_mut(key) {
        add(count, 1);
    } else {
        // Another CPU may have been first; then add to its entry.
        const NO_EXIST: u64 = 1;
        if LISTENING.insert(key, 1, NO_EXIST).is_err()
            && let Some(count) = LISTENING.get_ptr_mut(key)
        {
            add(count, 1);
        }
    }
}

/// One socket less listens at `key`. User space compares the counts with the kernel's list of
/// sockets and so mends what two CPUs could do to one entry here at the same time.
#[inline(always)]
pub(super) fn remove_listening(key: &ListeningKey) {
    let Some(count) = LISTENING.get_ptr_mut(key) else {
        return;
    };
    // SAFETY: an aligned word of the map's value.
    let left = unsafe { core::ptr::read_volatile(count) };
    if left <= 1 {
        let _ = LISTENING.remove(key);
    } else {
        add(count, u64::MAX);
    }
}

/// Whether any socket listens at `key`.
#[inline(always)]
pub(super) fn is_listening(key: &ListeningKey) -> bool {
    LISTENING.get_ptr(key).is_some()
}

/// Whether an address is one of the namespace's own.
#[inline(always)]
pub(super) fn is_local(key: &LocalKey) -> bool {
    LOCAL.get_ptr(key).is_some()
}

/// The source address that the host would use towards `destination`.
#[inline(always)]
pub(super) fn routed_source(destination: &Address) -> Option<Address> {
    SOURCES
        .get(&Key::new(
            128,
            DestinationKey {
                address: *destination,
            },
        ))
        .copied()
}
