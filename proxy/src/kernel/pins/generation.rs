//! Generations of rules, from one daemon to the next.

use std::path::Path;

use aya::maps::{Array, Map, MapData, MapError};
use sidetrack_abi::{names::map, settings::Settings};

use super::{PinName, instances, maps_of};

/// A generation for the rules of an instance, other than that of the rules which its pins hold:
/// what was redirected by those may still arrive, and must not be judged by others of the same
/// number.
pub fn next_generation(name: &PinName) -> u32 {
    fn last(folder: &Path) -> Result<u32, MapError> {
        let maps = maps_of(folder);
        let active: Array<MapData, u32> =
            Map::Array(MapData::from_pin(maps.join(map::ACTIVE))?).try_into()?;
        let settings: Array<MapData, Settings> =
            Map::Array(MapData::from_pin(maps.join(map::SETTINGS))?).try_into()?;
        Ok(settings.get(&active.get(&0, 0)?, 0)?.generation)
    }
    // Maps of another build hold nothing that could arrive here.
    let last = instances()
        .ok()
        .and_then(|instances| last(&instances.join(name.to_string())).ok());
    // 0 is none.
    last.unwrap_or_default().wrapping_add(1).max(1)
}
