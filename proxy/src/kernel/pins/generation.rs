//! Rules that pins hold, and the sign of life of whoever serves them, read by somebody who has not loaded the programs.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use sidetrack_abi::{names::map, settings::Settings};

use super::{PinName, instances, map_path, maps_of};

/// A generation for the rules of an instance, other than that of the rules which its pins hold:
/// what was redirected by those may still arrive, and must not be judged by others of the same
/// number.
pub fn next_generation(name: &PinName) -> u32 {
    let last = pinned_settings(name).map(|settings| settings.generation);
    // 0 is none.
    last.unwrap_or_default().wrapping_add(1).max(1)
}

/// The settings of the active rules. Maps of another build than this are not read.
pub(in crate::kernel) fn pinned_settings(name: &PinName) -> Option<Settings> {
    fn read(folder: &Path) -> Result<Settings, MapError> {
        let maps = maps_of(folder);
        let active: Array<MapData, u32> =
            Map::Array(MapData::from_pin(maps.join(map::ACTIVE))?).try_into()?;
        let settings: Array<MapData, Settings> =
            Map::Array(MapData::from_pin(maps.join(map::SETTINGS))?).try_into()?;
        settings.get(&active.get(&0, 0)?, 0)
    }
    let instances = instances().ok()?;
    read(&instances.join(name.to_string())).ok()
}

/// When a proxy was last seen to move, in nanoseconds of CLOCK_MONOTONIC: what the programs read.
pub(in crate::kernel) fn pinned_heartbeat(name: &PinName) -> Option<u64> {
    let data = MapData::from_pin(map_path(name, map::HEARTBEAT)?).ok()?;
    let heartbeat: Array<MapData, u64> = Map::Array(data).try_into().ok()?;
    heartbeat.get(&0, 0).ok()
}
