//! What the kernel is told of namespaces beside the daemon's own.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::AsRawFd,
    sync::Arc,
};

use sidetrack_abi::{
    names::{LOCAL_ENTRIES, NAMESPACE_ENTRIES},
    namespace::NamespaceFacts,
};

use super::{
    Family, KernelError, Redirector, listener_key,
    listening::{self, Mend},
    local,
    rules::{Names, RuleTables},
    sockdiag::Listening,
};
use crate::netns::Namespace;

/// Addresses of another namespace that the kernel is told of: all have room for as many as the
/// daemon's own.
const OWN_ADDRESSES: usize = LOCAL_ENTRIES / 2 / NAMESPACE_ENTRIES;

impl Redirector {
    /// Registers the listener of a family in another namespace, where there is one of each.
    pub fn register_in(
        &self,
        netns: u64,
        listener: &impl AsRawFd,
        family: Family,
    ) -> Result<(), KernelError> {
        let key = listener_key(netns, family, 0);
        self.maps.lock().register_outbound(&key, listener)
    }

    /// The same for connections that come to applications there.
    pub fn register_inbound_in(
        &self,
        netns: u64,
        listener: &impl AsRawFd,
        family: Family,
    ) -> Result<(), KernelError> {
        let key = listener_key(netns, family, 0);
        self.maps.lock().register_inbound(&key, listener)
    }

    /// As [`Redirector::reconcile_listening`], in a namespace.
    pub fn reconcile_listening_in(
        &self,
        netns: u64,
        sockets: &[Listening],
        governed: Option<&HashSet<u64>>,
        mend: Mend<'_>,
    ) -> Result<(), KernelError> {
        let truth = listening::count(netns, sockets, governed);
        self.maps.lock().reconcile_listening(netns, &truth, mend)
    }

    /// Tells the kernel what holds in another namespace, whose listeners are registered: from here
    /// on its connections are redirected.
    pub fn serve_namespace(
        &self,
        namespace: &Namespace,
        local: &local::Facts,
    ) -> Result<(), KernelError> {
        self.proxies.lock().serve(namespace);
        let facts = NamespaceFacts {
            slots: 1,
            flags: local.flags(),
        };
        let mut maps = self.maps.lock();
        // Whoever is root there makes as many as he likes; one that is not known is a stranger's.
        let own = local.own.get(..OWN_ADDRESSES).unwrap_or(&local.own);
        maps.set_addresses(namespace.cookie(), own, &local.sources)?;
        maps.set_namespace(namespace.cookie(), facts)
    }

    /// Redirects no connection of another namespace any more.
    pub fn forget_namespace(&self, netns: u64) -> Result<(), KernelError> {
        self.proxies.lock().forget(netns);
        let mut maps = self.maps.lock();
        for family in [Family::V4, Family::V6] {
            maps.unregister_outbound(&listener_key(netns, family, 0));
        }
        maps.forget_namespace(netns)
    }

    /// What selections of the active rules call namespaces, by cookie: these are known from here on, and
    /// no others. Nothing happens if other rules are active by now.
    pub fn name_namespaces(
        &self,
        tables: &Arc<RuleTables>,
        all: &BTreeMap<u64, Names>,
    ) -> Result<(), KernelError> {
        let mut maps = self.maps.lock();
        if !Arc::ptr_eq(tables, &self.tables.load()) {
            return Ok(());
        }
        tables.know_namespaces(all);
        maps.name_namespaces(tables)
    }

    /// Cookies of the other namespaces that a daemon before this one has served.
    pub fn namespaces_of_before(&self) -> Result<HashSet<u64>, KernelError> {
        self.maps.lock().take_namespaces(self.netns)
    }
}
