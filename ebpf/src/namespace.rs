//! What is known of a network namespace.

use crate::addr::Address;

/// Of a namespace beside the daemon's own that has listeners of ours.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NamespaceFacts {
    /// Listeners of each family, as in [`crate::settings::Settings::slots`].
    pub slots: u32,
    /// Those of `SETTING_*` that tell of a host: which families it lacks, and MPTCP.
    pub flags: u32,
}

const _: () = assert!(size_of::<NamespaceFacts>() == 8);

/// Key of a route in a trie: the namespace's cookie always whole, then the prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// As two words: in a trie's key they are not aligned to eight bytes.
    netns: [u32; 2],
    /// Destination.
    pub address: Address,
}

const _: () = assert!(size_of::<SourceKey>() == 24);

impl SourceKey {
    /// Bits before the address.
    pub const ADDRESS_OFFSET: u32 = 64;
    /// Bits of a whole key.
    pub const BITS: u32 = Self::ADDRESS_OFFSET + 128;

    /// Of the namespace with the cookie `netns`.
    #[inline(always)]
    pub const fn new(netns: u64, address: Address) -> Self {
        Self {
            netns: [netns as u32, (netns >> 32) as u32],
            address,
        }
    }

    /// Cookie of the namespace.
    #[inline(always)]
    pub const fn netns(&self) -> u64 {
        let [low, high] = self.netns;
        low as u64 | (high as u64) << 32
    }
}
