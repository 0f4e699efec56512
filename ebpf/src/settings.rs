//! What the programs are told.

/// The settings of one rule set. They are swapped with it, so that a program that runs through a
/// reload sees one generation of everything; while it is active only flags that tell of the host
/// change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// Cgroup of the proxy itself: its sockets are never redirected.
    pub own_cgroup: u64,
    /// Cookie of the daemon's own network namespace. What is said here of a host holds for it; of the
    /// others see [`crate::namespace::NamespaceFacts`].
    pub netns: u64,
    /// The proxy is taken for dead once its last heartbeat is older than this, in nanoseconds.
    pub alive_for: u64,
    /// Generation of the rules; 0 is none.
    pub generation: u32,
    /// Listeners of each family; a connection takes one by its socket's cookie.
    pub slots: u32,
    /// `SETTING_*`.
    pub flags: u32,
    /// Zero.
    pub zero: u32,
}

const _: () = assert!(size_of::<Settings>() == 40);

/// Some selection depends on the user id.
pub const SETTING_USERS: u32 = 1;
/// Some selection depends on the cgroup.
pub const SETTING_CGROUPS: u32 = 2;
/// The command's own cgroup is governed and nothing else: every task that gets here is selected.
pub const SETTING_SELECT_ALL: u32 = 4;
/// The host has neither an IPv4 address nor a route for IPv4 beyond itself.
pub const SETTING_NO_V4: u32 = 8;
/// The host has neither an IPv6 address nor a route for IPv6 beyond its links.
pub const SETTING_NO_V6: u32 = 16;
/// Some selection depends on the group id.
pub const SETTING_GROUPS: u32 = 64;
/// Some selection depends on the network namespace.
pub const SETTING_NETNS: u32 = 256;
/// MPTCP is enabled in the namespace that is served.
pub const SETTING_MPTCP: u32 = 32;
/// Some selection depends on the executable.
pub const SETTING_EXECUTABLES: u32 = 128;
/// User space wants to know of each connect() in a namespace without listeners, to put some there.
pub const SETTING_TELL_NAMESPACES: u32 = 1 << 16;
