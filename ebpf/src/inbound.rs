//! What sk_lookup needs to know.

use crate::addr::{Address, Endpoint};

/// The port takes plain text from anybody: with nobody to steer to, it stays as it was.
pub const PORT_ACCEPTS_PLAIN: u32 = 1;

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
    /// Zero.
    pub zero: u32,
}

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
