//! How much of everything, for each profile.

use super::Profile;

/// Numbers of operations, lengths and rounds.
pub(super) struct Size {
    /// Rounds that count. With fifteen, the interval of order statistics leaves out the three outermost values on each side.
    pub(super) rounds: u32,
    /// Rounds that are thrown away.
    pub(super) warm_up: u32,
    /// Rounds of cases about memory, which differs little from round to round and takes long to fill.
    pub(super) memory_rounds: u32,
    /// Calls of connect().
    pub(super) connects: u32,
    /// Connections from connect() to the first byte.
    pub(super) first_bytes: u32,
    /// Messages there and back.
    pub(super) round_trips: u32,
    /// Length of a slice that a closed loop fills.
    pub(super) millis: u32,
    /// Length of a slice at a fixed rate.
    pub(super) rate_millis: u32,
    /// Requests in a second where the rate is fixed.
    pub(super) rate: u32,
    /// Connections that are kept open and idle.
    pub(super) idle: u32,
    /// Numbers of rules.
    pub(super) rules: &'static [u32],
    /// Bytes of a write where bulk is sent.
    pub(super) writes: &'static [u32],
}

impl Size {
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::Smoke => Self {
                rounds: 2,
                warm_up: 0,
                memory_rounds: 2,
                connects: 20,
                first_bytes: 10,
                round_trips: 20,
                millis: 100,
                rate_millis: 100,
                rate: 200,
                idle: 20,
                rules: &[1, 100],
                writes: &[1 << 10],
            },
            Profile::Quick => Self {
                rounds: 8,
                warm_up: 1,
                memory_rounds: 6,
                connects: 2_000,
                first_bytes: 400,
                round_trips: 2_000,
                millis: 350,
                rate_millis: 500,
                rate: 1_000,
                idle: 2_000,
                rules: &[1],
                writes: &[64, 1 << 10, 16 << 10, 64 << 10],
            },
            Profile::Full => Self {
                rounds: 15,
                warm_up: 2,
                memory_rounds: 6,
                connects: 4_000,
                first_bytes: 600,
                round_trips: 3_000,
                millis: 400,
                rate_millis: 750,
                rate: 2_000,
                idle: 5_000,
                rules: &[1, 100, 1_000, 10_000],
                writes: &[64, 1 << 10, 16 << 10, 64 << 10],
            },
        }
    }
}
