//! What the kernel is told of namespaces beside the daemon's own.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::AsRawFd,
    sync::Arc,
};

use sidetrack_abi::namespace::NamespaceFacts;

use super::{
    Family, KernelError, Redirector, listener_key, local,
    rules::{Names, RuleTables},
};
use crate::netns::Namespace;

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
        maps.set_namespace(namespace.cookie(), facts, &local.sources)
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
