//! Namespaces beside the daemon's own, as the programs know them.

use std::collections::HashSet;

use sidetrack_abi::namespace::NamespaceFacts;

use super::{KernelError, Maps, filling};
use crate::kernel::{
    listening::{Counts, Mend},
    rules::RuleTables,
};

impl Maps {
    /// What holds in a namespace. After its listeners, without which its connects fail as where a
    /// proxy has died.
    pub(in crate::kernel) fn set_namespace(
        &mut self,
        netns: u64,
        facts: NamespaceFacts,
    ) -> Result<(), KernelError> {
        self.namespaces.insert(netns, facts, 0).map_err(filling)?;
        self.served.insert(netns, facts);
        Ok(())
    }

    /// What selections call namespaces has changed.
    pub(in crate::kernel) fn name_namespaces(
        &mut self,
        tables: &RuleTables,
    ) -> Result<(), KernelError> {
        self.cgroups.tell_namespaces(tables)
    }

    /// A namespace has no listeners any more.
    pub(in crate::kernel) fn forget_namespace(&mut self, netns: u64) -> Result<(), KernelError> {
        // Gone already if it never came to be.
        let _ = self.namespaces.remove(&netns);
        self.served.remove(&netns);
        self.set_addresses(netns, &[], &[])?;
        // Counted by the programs as long as somebody listens; what user space alone counts is not.
        let none = Counts::new();
        self.reconcile_listening(netns, &none, Mend::AtOnce)
    }

    /// Forgets what a daemon before this one has left here; which namespaces those were.
    pub(in crate::kernel) fn take_namespaces(
        &mut self,
        own: u64,
    ) -> Result<HashSet<u64>, KernelError> {
        let before: HashSet<u64> = self.namespaces.keys().filter_map(Result::ok).collect();
        let routed = self.sources.keys().filter_map(Result::ok);
        let mut all: HashSet<u64> = routed.map(|key| key.data().netns()).collect();
        let local = self.local.keys().filter_map(Result::ok);
        all.extend(local.map(|key| key.netns));
        all.extend(&before);
        all.remove(&own);
        for netns in all {
            self.forget_namespace(netns)?;
        }
        Ok(before)
    }
}
