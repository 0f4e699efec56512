//! The proxies of others, as the programs know them.

use std::{collections::HashSet, os::fd::AsRawFd};

use sidetrack_abi::{
    ListenerKey,
    flow::{PROXIES, proxy_slot},
};

use super::{KernelError, Maps, filling, register};

impl Maps {
    /// Which slots of a rule set have a listener. The kernel removes one that was closed.
    pub(in crate::kernel) fn proxy_listeners(&self, set: u32) -> HashSet<ListenerKey> {
        let slots = proxy_slot(set, 0)..proxy_slot(set, 0) + PROXIES;
        self.listeners
            .keys()
            .filter_map(Result::ok)
            .filter(|key| slots.contains(&key.slot))
            .collect()
    }

    pub(in crate::kernel) fn register_proxy(
        &mut self,
        key: &ListenerKey,
        listener: &impl AsRawFd,
    ) -> Result<(), KernelError> {
        register(&mut self.listeners, key, listener)
    }

    pub(in crate::kernel) fn unregister_proxy(&mut self, key: &ListenerKey) {
        // Gone already if its listener was closed meanwhile.
        let _ = self.listeners.remove(key);
    }

    /// Connections of this cgroup are not sent to proxies.
    pub(in crate::kernel) fn add_proxy_cgroup(&mut self, id: u64) -> Result<(), KernelError> {
        self.proxy_cgroups.insert(id, 1, 0).map_err(filling)
    }

    /// Of the cgroups that were added, these alone are left.
    pub(in crate::kernel) fn keep_proxy_cgroups(&mut self, wanted: &HashSet<u64>) {
        let there: Vec<u64> = self.proxy_cgroups.keys().filter_map(Result::ok).collect();
        for id in there.iter().filter(|id| !wanted.contains(id)) {
            let _ = self.proxy_cgroups.remove(id);
        }
    }
}
