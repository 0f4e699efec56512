//! Rules that pins hold, read by somebody who has not loaded the programs.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use sidetrack_abi::{names::map, settings::Settings};

use super::{PinName, instances, maps_of};

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
