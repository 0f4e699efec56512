//! Outbound rules as the kernel looks them up.
//!
//! User space compiles the rules into three tables, so that a decision costs the same with ten
//! rules and with ten thousand:
//!
//! 1. the task's cgroup, user, group and executable and its socket's network namespace give a *selection
//!    class*: the set of selections it is in, or, while its cgroup or namespace is not known yet, the sets
//!    that it could be in;
//! 2. the destination's longest configured prefix gives a *destination class*;
//! 3. (destination class, selection class, protocol, port) gives the rule, by a trie whose ports
//!    are prefixes of 16 bits, so that a range is a handful of entries.
//!
//! The rule of a destination class already takes shorter prefixes into account: where no rule of
//! the longest prefix matches port and selection, the next shorter one's does.

use crate::addr::Address;

/// Number of rule sets that the kernel holds: the active one and the one being filled.
pub const RULE_SETS: u32 = 2;

/// Selection class of a task that no selection includes.
pub const SELECTION_NONE: u32 = 0;

/// Selection class of everybody, where a command's own cgroup is all that is governed.
pub const SELECTION_ALL: u32 = 1;

/// [`StageKey::value`] that stands for every value without an entry.
pub const ANY_VALUE: u64 = u64::MAX;

/// [`StageKey::kind`]: the value is the user id of the task.
pub const STAGE_USER: u32 = 1;
/// The value is the group id of the task, that of its primary group.
pub const STAGE_GROUP: u32 = 2;
/// The value is the number of the task's executable, see [`crate::executable`].
pub const STAGE_EXECUTABLE: u32 = 3;
/// The class is 0 and the value the cookie of a network namespace; what the table gives is no class
/// but the number of what selections call it. Without an entry nobody has looked yet.
pub const STAGE_NETNS_NAMES: u32 = 5;
/// The value is that number. [`ANY_VALUE`] is a namespace that nobody has looked at yet: a class that
/// stands for all that it could turn out to be.
pub const STAGE_NETNS: u32 = 6;

/// Depth of cgroups below the root that the programs look through, deepest first.
pub const CGROUP_DEPTH: u32 = 12;

/// What the programs know of one cgroup.
///
/// A cgroup can appear and its first task can connect before user space knows of it. What such a
/// task may do follows from the deepest cgroup above it that is known, by [`CgroupClass::below`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CgroupClass {
    /// Class of the tasks in the cgroup itself.
    pub own: u32,
    /// Class of the tasks in a cgroup below it that is not known by itself. Where that could be
    /// one that rules tell apart, a class that stands for every class that it could have.
    pub below: u32,
}

/// [`Rule::index`] where the class of the task's cgroup is not known and the classes that it could
/// have are not decided alike: the strictest of their rules, until user space finds the true one.
pub const RULE_UNCLASSIFIED: u32 = u32::MAX;

/// [`Rule::index`] of the daemon's own canary: a connection to port 0 of the loopback address, at
/// which nobody can listen, so that it goes nowhere unless it is redirected.
pub const RULE_CANARY: u32 = u32::MAX - 1;

/// Key of the table of stages: what is asked of a task after its cgroup, one after another, as far
/// as some selection asks for it. Each gives the class that the next one begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct StageKey {
    /// Class so far.
    pub class: u32,
    /// `STAGE_*`.
    pub kind: u32,
    /// What the task has, or [`ANY_VALUE`].
    pub value: u64,
}

const _: () = assert!(size_of::<StageKey>() == 16);

/// Data of the destination trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DestinationKey {
    /// The destination.
    pub address: Address,
}

/// Data of the rule trie; all big-endian, since a trie compares bits from the first byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RuleKey {
    /// Destination class.
    pub destination: u32,
    /// Selection class.
    pub selection: u32,
    /// `PROTOCOL_*`.
    pub protocol: u16,
    /// Destination port.
    pub port: u16,
}

const _: () = assert!(size_of::<RuleKey>() == 12);

impl RuleKey {
    /// Bits before the port.
    pub const PORT_OFFSET: u32 = 80;
    /// Bits of a key that names one port.
    pub const BITS: u32 = 96;

    /// A key for `port` in network order; all else in host order.
    #[inline(always)]
    pub const fn new(destination: u32, selection: u32, protocol: u16, port_be: u16) -> Self {
        Self {
            destination: destination.to_be(),
            selection: selection.to_be(),
            protocol: protocol.to_be(),
            port: port_be,
        }
    }
}

/// `IPPROTO_TCP`
pub const PROTOCOL_TCP: u16 = 6;
/// `IPPROTO_UDP`
pub const PROTOCOL_UDP: u16 = 17;

/// Leave it alone.
pub const ACTION_IGNORE: u8 = 0;
/// connect() fails, and so does sending a datagram.
pub const ACTION_DENY: u8 = 1;
/// To our proxy, which relays it as it is; datagrams go their way.
pub const ACTION_PLAIN: u8 = 2;
/// To our proxy, which makes TLS of it: it must not go on as it is by any other way.
pub const ACTION_TLS: u8 = 3;
/// To the listener of somebody else's proxy.
pub const ACTION_REDIRECT: u8 = 4;
/// No rule: ports within a prefix for which there is one.
pub const ACTION_NONE: u8 = 5;

/// Without a listener, connect() fails.
pub const FAIL_BLOCK: u8 = 0;
/// Without a listener, the connection goes direct.
pub const FAIL_PASS: u8 = 1;

/// Errno of a denial for which no rule chose one: EPERM, which the kernel gives by itself.
pub const DENIED: u16 = 1;

/// Value of the rule trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Rule {
    /// Index in the configuration, [`RULE_UNCLASSIFIED`] or [`RULE_CANARY`].
    pub index: u32,
    /// `ACTION_*`.
    pub action: u8,
    /// `FAIL_*`.
    pub fail: u8,
    /// Positive errno of a denial; number of the proxy of a redirect.
    pub operand: u16,
}

const _: () = assert!(size_of::<Rule>() == 8);
