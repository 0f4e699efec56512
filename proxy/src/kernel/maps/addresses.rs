//! The host's own addresses, as the programs know them.

use std::{collections::HashSet, net::IpAddr};

use aya::maps::lpm_trie::Key;
use ipnet::IpNet;
use sidetrack_abi::{
    Address,
    inbound::LocalKey,
    namespace::SourceKey,
    settings::{SETTING_NO_V4, SETTING_NO_V6},
};

use super::{KernelError, Maps, destination_key, filling};

impl Maps {
    pub(in crate::kernel) fn set_addresses(
        &mut self,
        netns: u64,
        own: &[IpAddr],
        sources: &[(IpNet, IpAddr)],
    ) -> Result<(), KernelError> {
        // A link-local address is one's own on one link only: on another it is a stranger's.
        let wanted: HashSet<LocalKey> = own
            .iter()
            .filter(|ip| !is_link_local(**ip))
            .map(|ip| LocalKey {
                netns,
                address: (*ip).into(),
            })
            .collect();
        // First what is new, then what is gone: an own address is never missing meanwhile.
        for key in &wanted {
            self.local.insert(key, 1, 0).map_err(filling)?;
        }
        let gone: Vec<LocalKey> = self
            .local
            .keys()
            .filter_map(Result::ok)
            .filter(|key| key.netns == netns && !wanted.contains(key))
            .collect();
        for key in gone {
            let _ = self.local.remove(&key);
        }
        self.set_sources(netns, sources)
    }

    /// Routes of one namespace; those of the others stay.
    pub(super) fn set_sources(
        &mut self,
        netns: u64,
        sources: &[(IpNet, IpAddr)],
    ) -> Result<(), KernelError> {
        let wanted: Vec<(Key<SourceKey>, Address)> = sources
            .iter()
            .map(|(net, ip)| (source_key(netns, *net), (*ip).into()))
            .collect();
        for (key, source) in &wanted {
            self.sources.insert(key, source, 0).map_err(filling)?;
        }
        let keep: HashSet<(u32, SourceKey)> = wanted
            .iter()
            .map(|(key, _)| (key.prefix_len(), key.data()))
            .collect();
        let gone: Vec<Key<SourceKey>> = self
            .sources
            .keys()
            .filter_map(Result::ok)
            .filter(|key| key.data().netns() == netns)
            .filter(|key| !keep.contains(&(key.prefix_len(), key.data())))
            .collect();
        for key in gone {
            let _ = self.sources.remove(&key);
        }
        Ok(())
    }

    /// Tells the programs which address families the host does not have. Only this flag changes
    /// in the active settings, so that a program that reads them meanwhile sees either value.
    pub(in crate::kernel) fn set_absent_families(
        &mut self,
        absent: u32,
    ) -> Result<(), KernelError> {
        if absent == self.absent {
            return Ok(());
        }
        self.absent = absent;
        if self.active_settings.generation == 0 {
            return Ok(());
        }
        let flags = self.active_settings.flags & !(SETTING_NO_V4 | SETTING_NO_V6) | absent;
        self.active_settings.flags = flags;
        self.settings
            .set(self.active, self.active_settings, 0)
            .map_err(filling)
    }
}

fn source_key(netns: u64, net: IpNet) -> Key<SourceKey> {
    let destination = destination_key(net);
    Key::new(
        SourceKey::ADDRESS_OFFSET + destination.prefix_len(),
        SourceKey::new(netns, destination.data().address),
    )
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
