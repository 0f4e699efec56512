//! The tunnel between two sidetracks: application connections, one after another, over one
//! TLS connection. `proxy/TUNNEL.md` is the format's page.
//!
//! A client takes a [`Tunnel`] from a [`Pool`] or makes one, leases it to one application
//! connection, and puts it back when both directions have ended. A server runs [`serve`] for
//! each tunnel and asks a [`LeaseHandler`] about each lease. Neither multiplexes: there is no
//! head-of-line blocking and no flow control beside TCP's.

use std::time::Duration;

mod client;
mod decode;
mod exchange;
mod frame;
mod open;
mod pool;
mod server;
mod state;
mod wire;

pub use client::{LeaseEnd, Opening, Outcome, Patience, Tunnel};
pub use decode::{Decoder, Event};
pub use frame::{LeaseNumber, MAX_CONTROL, MAX_DATA, ResetCode, Violation};
pub use open::Open;
pub use pool::{Idle, Limits, Pool, PoolKey};
pub use server::{Admitted, LeaseGuard, LeaseHandler, Options, serve};

/// The ALPN protocol name of this version of the format.
pub const ALPN: &[u8] = b"sidetrack/1";

/// The most bytes that a client sends for a lease before the server answers it, and so the
/// most that it keeps a copy of.
pub const REPLAY_LIMIT: usize = 64 << 10;

/// The most bytes that an end takes for an application that is gone before it closes the tunnel
/// to make the peer stop.
pub const DISCARD_LIMIT: usize = 64 << 10;

/// How long OPENED waits at a server for the first bytes of the answer, to leave with them.
pub const OPENED_LATEST: Duration = crate::relay::vigil::CHECK;

/// How long an end waits for the other's terminal frame after a reset before it closes the
/// tunnel.
pub const RESET_GRACE: Duration = Duration::from_secs(1);

/// How many bytes a server takes and throws away after CLOSE: what a client may send before it
/// reads the CLOSE, twice.
const LINGER_LIMIT: usize = 2 * REPLAY_LIMIT;

/// How long a server waits after CLOSE for the client to close. Closing at once could answer
/// an OPEN that is under way with a TCP reset, which destroys the CLOSE before it is read.
const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
