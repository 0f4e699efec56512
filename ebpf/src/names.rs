//! Names of programs and maps, and the capacities of maps.

/// Names of the programs in the object.
pub mod program {
    /// cgroup/connect4
    pub const CONNECT4: &str = "st_connect4";
    /// cgroup/connect6
    pub const CONNECT6: &str = "st_connect6";
    /// cgroup/getpeername4
    pub const GETPEERNAME4: &str = "st_getpeername4";
    /// cgroup/getpeername6
    pub const GETPEERNAME6: &str = "st_getpeername6";
    /// cgroup/getsockname4
    pub const GETSOCKNAME4: &str = "st_getsockname4";
    /// cgroup/getsockname6
    pub const GETSOCKNAME6: &str = "st_getsockname6";
    /// cgroup/getsockopt
    pub const GETSOCKOPT: &str = "st_getsockopt";
    /// cgroup/sendmsg4
    pub const SENDMSG4: &str = "st_sendmsg4";
    /// cgroup/sendmsg6
    pub const SENDMSG6: &str = "st_sendmsg6";
    /// sockops
    pub const SOCKOPS: &str = "st_sockops";
    /// sk_lookup
    pub const SK_LOOKUP: &str = "st_sk_lookup";

    /// All of them.
    pub const ALL: [&str; 11] = [
        CONNECT4,
        CONNECT6,
        GETPEERNAME4,
        GETPEERNAME6,
        GETSOCKNAME4,
        GETSOCKNAME6,
        GETSOCKOPT,
        SENDMSG4,
        SENDMSG6,
        SOCKOPS,
        SK_LOOKUP,
    ];
}

/// Names of the maps in the object.
pub mod map {
    /// Array of one `u32`: the active rule set.
    pub const ACTIVE: &str = "ACTIVE";
    /// Array of one `u64`: CLOCK_MONOTONIC, in nanoseconds, of the moment at which the proxy's data
    /// path was last seen to move; 0 if it never was.
    pub const HEARTBEAT: &str = "HEARTBEAT";
    /// Rule sets: [`crate::settings::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// Per-CPU array of `u64`, by [`crate::counter::Counter`].
    pub const COUNTERS: &str = "COUNTERS";
    /// Ring buffer of [`crate::event::Refused`].
    pub const EVENTS: &str = "EVENTS";
    /// Socket hash: [`crate::flow::ListenerKey`] to the outbound listener.
    pub const LISTENERS: &str = "LISTENERS";
    /// Socket hash: [`crate::flow::ListenerKey`] to the inbound listener.
    pub const INBOUND_LISTENERS: &str = "INBOUND_LISTENERS";
    /// LRU: [`crate::flow::FlowKey`] to [`crate::flow::Redirected`], from SYN to accept.
    pub const PENDING: &str = "PENDING";
    /// LRU: [`crate::flow::FlowKey`] to the client's [`crate::addr::Endpoint`].
    pub const FORWARD: &str = "FORWARD";
    /// LRU: [`crate::flow::FlowKey`] of a redirected socket to the [`crate::addr::Endpoint`] that
    /// it asked for, where MPTCP is enabled.
    pub const DIALLED: &str = "DIALLED";
    /// sk_storage of redirected client sockets: [`crate::flow::Redirected`].
    pub const CLIENT: &str = "CLIENT";
    /// sk_storage of the proxy's accepted sockets: [`crate::flow::Redirected`].
    pub const ACCEPTED: &str = "ACCEPTED";
    /// sk_storage of the proxy's connecting sockets: [`crate::flow::OwnSocket`].
    pub const OWN: &str = "OWN";
    /// sk_storage of applications' accepted sockets: the client's [`crate::addr::Endpoint`].
    pub const SERVED: &str = "SERVED";
    /// sk_storage of datagram sockets: [`crate::event::ToldDenials`].
    pub const TOLD: &str = "TOLD";
    /// Ids of the cgroups of others' proxies, to anything.
    pub const PROXY_CGROUPS: &str = "PROXY_CGROUPS";
    /// Rule sets: cgroup id to [`crate::rules::CgroupClass`].
    pub const CGROUPS: &str = "CGROUPS";
    /// Rule sets: [`crate::rules::StageKey`] to the next class, in the end the selection class.
    pub const STAGES: &str = "STAGES";
    /// Rule sets: [`crate::executable::ExecutableKey`] to [`crate::executable::ExecutableStep`].
    pub const EXECUTABLES: &str = "EXECUTABLES";
    /// Rule sets: trie of [`crate::rules::DestinationKey`] to destination class.
    pub const DESTINATIONS: &str = "DESTINATIONS";
    /// Rule sets: trie of [`crate::rules::RuleKey`] to [`crate::rules::Rule`].
    pub const RULES: &str = "RULES";
    /// Rule sets: port to [`crate::inbound::InboundPort`].
    pub const PORTS: &str = "PORTS";
    /// [`crate::inbound::ListeningKey`] to the number of listening sockets.
    pub const LISTENING: &str = "LISTENING";
    /// [`crate::inbound::LocalKey`] to anything.
    pub const LOCAL: &str = "LOCAL";
    /// Trie of [`crate::namespace::SourceKey`] to the source address that would be used there.
    pub const SOURCES: &str = "SOURCES";
    /// Cookies of the other namespaces that have listeners, to
    /// [`crate::namespace::NamespaceFacts`].
    pub const NAMESPACES: &str = "NAMESPACES";

    /// All of them.
    pub const ALL: [&str; 26] = [
        ACTIVE,
        HEARTBEAT,
        SETTINGS,
        COUNTERS,
        EVENTS,
        LISTENERS,
        INBOUND_LISTENERS,
        PENDING,
        FORWARD,
        DIALLED,
        CLIENT,
        ACCEPTED,
        OWN,
        SERVED,
        TOLD,
        PROXY_CGROUPS,
        CGROUPS,
        STAGES,
        EXECUTABLES,
        DESTINATIONS,
        RULES,
        PORTS,
        LISTENING,
        LOCAL,
        SOURCES,
        NAMESPACES,
    ];
}

/// Names of read-only globals, which the loader sets before the programs are verified.
pub mod global {
    /// `u64`: cookie of the network namespace that sk_lookup is attached to.
    pub const NETNS_COOKIE: &str = "NETNS_COOKIE";
    /// `u32`: 1 if a program may choose the errno of a failed connect(), by `bpf_set_retval`.
    pub const HAS_SET_RETVAL: &str = "HAS_SET_RETVAL";
    /// `u32`: byte of `sk_kern_sock` in `struct sock`; 0 if it is not known.
    pub const KERN_SOCK_BYTE: &str = "KERN_SOCK_BYTE";
    /// `u32`: its bit in that byte.
    pub const KERN_SOCK_BIT: &str = "KERN_SOCK_BIT";
    /// [`crate::executable::ExecutableLayout`]; zeros if it is not known.
    pub const EXECUTABLE_LAYOUT: &str = "EXECUTABLE_LAYOUT";
    /// `u32`: byte of `is_mptcp` in `struct tcp_sock`; 0 if the kernel has no MPTCP.
    pub const IS_MPTCP_BYTE: &str = "IS_MPTCP_BYTE";
}

/// Handshakes to the proxy in flight: longer than any accept queue, times the listeners.
pub const PENDING_ENTRIES: usize = 65_536;
/// Listeners in a registry: the daemon's own, those of proxies of others, and one of each family in
/// each other namespace.
pub const LISTENER_ENTRIES: usize = 16_384;
/// Cgroups of others' proxies.
pub const PROXY_CGROUP_ENTRIES: usize = 1_024;
/// Cgroups that a rule set can name or tell apart from those.
pub const CGROUP_ENTRIES: usize = 65_536;
/// Users and groups that a rule set can name, times the classes that they are asked of.
pub const STAGE_ENTRIES: usize = 65_536;
/// Names in the paths of executables that a rule set can name.
pub const EXECUTABLE_ENTRIES: usize = 65_536;
/// Destination prefixes in a rule set.
pub const DESTINATION_ENTRIES: usize = 65_536;
/// Entries of the rule trie in a rule set.
pub const RULE_ENTRIES: usize = 1_048_576;
/// Governed ports in a rule set.
pub const PORT_ENTRIES: usize = 65_536;
/// Listening endpoints that are counted.
pub const LISTENING_ENTRIES: usize = 65_536;
/// Own addresses.
pub const LOCAL_ENTRIES: usize = 65_536;
/// Routes that give a source address, of all namespaces together.
pub const SOURCE_ENTRIES: usize = 65_536;
/// Network namespaces beside the daemon's own that have listeners.
pub const NAMESPACE_ENTRIES: usize = 1_024;
