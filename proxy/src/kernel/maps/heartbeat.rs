//! The sign of life.

use aya::maps::{Array, MapData, MapError};
use parking_lot::Mutex;

use super::KernelError;

/// Tells the programs that the data path moves. Apart from the other maps, whose lock a reload of
/// many rules holds for long.
pub(in crate::kernel) struct Heartbeat(Mutex<Array<MapData, u64>>);

impl Heartbeat {
    pub(super) fn new(map: Array<MapData, u64>) -> Self {
        Self(Mutex::new(map))
    }

    /// `at` is CLOCK_MONOTONIC, in nanoseconds.
    pub(in crate::kernel) fn beat(&self, at: u64) -> Result<(), KernelError> {
        self.0.lock().set(0, at, 0).map_err(|error| {
            KernelError::new(
                "telling the programs that the proxy is alive",
                "without it connections get their rule's fail mode",
                error,
            )
        })
    }

    /// What the programs read.
    pub(super) fn last(&self) -> Result<u64, MapError> {
        self.0.lock().get(&0, 0)
    }
}
