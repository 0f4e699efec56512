//! What holds in one network namespace and not in another.

use aya_ebpf::btf_maps::lpm_trie::Key;
use sidetrack_abi::{
    Address,
    namespace::SourceKey,
    settings::{SETTING_MPTCP, Settings},
};

use super::{NAMESPACES, RuleSet, SOURCES};

/// A network namespace that has listeners of ours, or has had some until the proxy died.
#[derive(Clone, Copy)]
pub(in crate::bpf) struct Served {
    pub(in crate::bpf) netns: u64,
    /// Listeners of each family.
    pub(in crate::bpf) slots: u32,
    /// `SETTING_*`
    pub(in crate::bpf) flags: u32,
}

impl Served {
    /// The daemon's own namespace needs no look-up: what holds there is in the settings.
    #[inline(always)]
    pub(in crate::bpf) fn find(netns: u64, settings: &Settings) -> Option<Self> {
        if netns == settings.netns {
            return Some(Self {
                netns,
                slots: settings.slots,
                flags: settings.flags,
            });
        }
        // SAFETY: a copy of two words; user space replaces the entry whole.
        let facts = NAMESPACES.get_ptr(netns).map(|facts| unsafe { *facts })?;
        Some(Self {
            netns,
            slots: facts.slots,
            flags: facts.flags,
        })
    }
}

/// Whether a socket that connects in this namespace may be a part of an MPTCP socket; it does not
/// tell.
#[inline(always)]
pub(in crate::bpf) fn has_mptcp(netns: u64) -> bool {
    let served = RuleSet::active().and_then(|(_, settings)| Served::find(netns, settings));
    served.is_some_and(|served| served.flags & SETTING_MPTCP != 0)
}

/// The source address that would be used in a namespace towards `destination`.
#[inline(always)]
pub(in crate::bpf) fn routed_source(netns: u64, destination: &Address) -> Option<Address> {
    let key = SourceKey::new(netns, *destination);
    SOURCES.get(&Key::new(SourceKey::BITS, key)).copied()
}
