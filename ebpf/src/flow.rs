//! What identifies a connection and what is remembered of it.

use crate::addr::Endpoint;

/// Key of a connection that is being made: the whole flow.
///
/// Anything shorter is wrong: with one source port in use to two destinations and a full accept
/// queue, the second connection would overwrite or delete what belongs to the first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FlowKey {
    /// Cookie of the network namespace: 127.0.0.1 is another host in each.
    pub netns: u64,
    /// Who connects.
    pub source: Endpoint,
    /// Where to, after rewriting.
    pub destination: Endpoint,
}

const _: () = assert!(size_of::<FlowKey>() == 48);

/// Set in [`Redirected::flags`] if the application's socket was bound to a source address.
pub const FLAG_BOUND_SOURCE: u32 = 1;

/// What is remembered of a connection that was redirected: kept with the application's socket,
/// handed to the proxy's accepted socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Redirected {
    /// Where the application wanted to go.
    pub destination: Endpoint,
    /// Class of the selections that the connecting task was in.
    pub selection: u32,
    /// Index of the rule that decided, in the generation below.
    pub rule: u32,
    /// Generation of the rules.
    pub generation: u32,
    /// User id of the connecting task, in the initial user namespace.
    pub uid: u32,
    /// Group id of the connecting task, in the initial user namespace.
    pub gid: u32,
    /// Process id of the connecting task, in the initial pid namespace.
    pub pid: u32,
    /// SO_MARK of the socket.
    pub mark: u32,
    /// Interface that the socket is bound to; 0 is none.
    pub device: u32,
    /// Number of the task's executable among those that selections name, see [`crate::executable`].
    pub executable: u32,
    /// Cgroup of the connecting task.
    pub cgroup: u64,
    /// `FLAG_*`.
    pub flags: u32,
    /// Type of service or traffic class of the socket, DSCP and ECN bits.
    pub tos: u32,
}

const _: () = assert!(size_of::<Redirected>() == 72);

/// This socket is the proxy's own: it is not redirected.
pub const OWN_EXEMPT: u32 = 1;
/// This socket is the proxy's hop to a local application, for `client`.
pub const OWN_FORWARD: u32 = 2;
/// This socket is the proxy's hop to a local application, which sees the hop's own address.
pub const OWN_HOP: u32 = 3;

/// What the proxy notes, by file descriptor, on a socket of its own before connect().
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OwnSocket {
    /// `OWN_*`.
    pub kind: u32,
    /// The client that accept() and getpeername() of the application are to show.
    pub client: Endpoint,
}

const _: () = assert!(size_of::<OwnSocket>() == 24);

/// Listener for applications' IPv4 connections.
pub const FAMILY_V4: u32 = 4;
/// Listener for applications' IPv6 connections.
pub const FAMILY_V6: u32 = 6;

/// Key of a listener in a registry.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ListenerKey {
    /// Cookie of its network namespace.
    pub netns: u64,
    /// `FAMILY_V4` or `FAMILY_V6`.
    pub family: u32,
    /// 0 up to [`crate::settings::Settings::slots`], or [`proxy_slot`].
    pub slot: u32,
}

const _: () = assert!(size_of::<ListenerKey>() == 16);

/// Slot of the first listener that is somebody else's.
pub const PROXY_SLOTS: u32 = 1024;
/// Proxies of others that a rule set can name.
pub const PROXIES: u32 = 256;

/// Slot of the listener of proxy `number` in a rule set. Each set has slots of its own: a number
/// may mean another proxy after a reload.
#[inline(always)]
pub const fn proxy_slot(set: u32, number: u16) -> u32 {
    PROXY_SLOTS + set * PROXIES + number as u32
}

// Two families, and the same again in the other rule set; beside them those of other namespaces.
const _: () = assert!(
    (crate::rules::RULE_SETS * PROXIES * 2) as usize + 2 * crate::names::NAMESPACE_ENTRIES
        < crate::names::LISTENER_ENTRIES
);
