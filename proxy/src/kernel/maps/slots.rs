//! Which table stands in which rule set, asked of the kernel.

use std::{
    collections::HashMap as StdHashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Ebpf, Pod,
    maps::{IterableMap, Map, MapError},
};
use sidetrack_abi::names::map;

use crate::kernel::sys::contents;

/// Kinds of tables of which each rule set has one.
const OF_SETS: [&str; 6] = [
    map::CGROUPS,
    map::STAGES,
    map::EXECUTABLES,
    map::DESTINATIONS,
    map::RULES,
    map::PORTS,
];

/// The arrays of tables by their names, to ask for ids: opening what stands in them takes a
/// privilege that the daemon may lack.
pub(super) struct Slots(StdHashMap<&'static str, OwnedFd>);

impl Slots {
    /// Before the maps are taken.
    pub(super) fn of(bpf: &Ebpf) -> Result<Self, MapError> {
        let each = OF_SETS.into_iter().map(|name| match bpf.map(name) {
            Some(Map::ArrayOfMaps(array)) => Ok((name, array.fd().as_fd().try_clone_to_owned()?)),
            _ => Err(MapError::InvalidName { name: name.into() }),
        });
        Ok(Self(each.collect::<Result<_, _>>()?))
    }

    /// Whether the programs that take `set` read this very table.
    pub(super) fn hold<K: Pod, V: Pod>(
        &self,
        name: &str,
        set: u32,
        table: &impl IterableMap<K, V>,
    ) -> io::Result<bool> {
        let array = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        let own = table.map().info().map_err(io::Error::other)?.id();
        Ok(contents::id_of_inner(array.as_fd(), set)? == own)
    }
}
