//! What sk_lookup needs to know.

use crate::addr::{Address, Endpoint};

/// The proxy's hop to an IPv4 application comes from an address of this /24, in host order.
///
/// It is reserved for nobody's use (240.0.0.0/4, RFC 1112) and no interface has it: an application
/// to which nothing else was told than this address takes its client neither for the host itself
/// nor for anybody else. A loopback address would be a remote client that looks local whenever
/// getpeername() is not answered by the programs.
pub const HOP_V4: u32 = 0xfe4d_4d00;
/// The same for an IPv6 application: the first 96 bits of 100::5349:4445:0:0/96, in host order.
/// 100::/64 is the prefix to which packets are discarded (RFC 6666).
pub const HOP_V6: [u32; 3] = [0x0100_0000, 0, 0x5349_4445];

/// The port takes plain text from anybody: with nobody to steer to, it stays as it was.
pub const PORT_ACCEPTS_PLAIN: u32 = 1;

/// The port is governed in every network namespace that is served, not in the daemon's own alone.
pub const PORT_IN_NAMESPACES: u32 = 2;

/// Value of the table of governed ports; its key is the port in host order, as `u32`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InboundPort {
    /// Index of the rule in the configuration.
    pub rule: u32,
    /// `PORT_*`.
    pub flags: u32,
}

/// Key of the table of listening applications.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ListeningKey {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Where it listens; the unspecified address for all.
    pub endpoint: Endpoint,
    /// `LISTENING_*`.
    pub kind: u32,
}

/// Every socket that listens there.
pub const LISTENING_ALL: u32 = 0;
/// Those among them at `::` that take no IPv4. The programs cannot see that of a socket
/// (`sol_ipv6_sockopt()`, net/core/filter.c, hands out nothing but the traffic class and flow
/// label): user space counts them, and forgets them only when it no longer sees them. So they are
/// still known when their application comes back after a restart.
pub const LISTENING_V6_ONLY: u32 = 1;

const _: () = assert!(size_of::<ListeningKey>() == 32);

/// Key of the table of a namespace's own addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct LocalKey {
    /// Cookie of the network namespace.
    pub netns: u64,
    /// An address of one of its interfaces.
    pub address: Address,
}

const _: () = assert!(size_of::<LocalKey>() == 24);
