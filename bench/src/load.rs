//! What an agent does to the one at the other end, for one slice of time or so many operations.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Trouble,
    agent::{Kept, Target},
    measured::Sample,
};

mod bulk;
mod dial;
mod exchange;
pub(crate) mod files;
mod handshake;
mod idle;
mod moment;
mod open;
mod rate;
pub(crate) mod stream;
mod tally;

pub(crate) use moment::{Moment, Span};
pub(crate) use tally::Tally;

/// How long a path may stay silent before an operation has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a slice of so many operations may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Which way bulk bytes go.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
    /// Both at once.
    Both,
}

/// One slice of work. Sizes are bytes, `millis` the length of the slice.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "load")]
pub enum Load {
    /// connect() alone, one connection after another, each closed by a reset; the time of the call.
    /// Now and then it waits, unmeasured, until those before are through, so that no queue runs full.
    Connect {
        /// How many.
        count: u32,
    },
    /// From connect() to the first byte of the answer to one byte, each on a connection of its own.
    FirstByte {
        /// How many.
        count: u32,
    },
    /// A message there and back, one after another, on one open connection.
    RoundTrip {
        /// Bytes of the message, and of its answer.
        size: u32,
        /// How many.
        count: u32,
    },
    /// As many requests as can be had (closed loop).
    Requests {
        /// At so many connections at once.
        connections: u32,
        /// Bytes of a request.
        size: u32,
        /// Bytes of its answer.
        answer: u32,
        /// Over kept connections; else each has a connection of its own.
        keep_alive: bool,
        /// How long.
        millis: u32,
    },
    /// Requests at a fixed rate (open loop): each has its planned moment, and its latency counts from
    /// that, whether or not the ones before were late.
    Rate {
        /// Requests in a second.
        per_second: u32,
        /// Spread over so many open connections.
        connections: u32,
        /// Bytes of a request.
        size: u32,
        /// Bytes of its answer.
        answer: u32,
        /// Beside a bulk stream that goes down at the same time as fast as it can.
        beside_bulk: bool,
        /// How long.
        millis: u32,
    },
    /// Bytes as fast as they go on one connection. Nagle's algorithm is on, as it is where nobody turns
    /// it off.
    Bulk {
        /// Which way.
        way: Way,
        /// Bytes of each write.
        write: u32,
        /// How long.
        millis: u32,
    },
    /// TLS handshakes of the client itself with what ends TLS at the far end, one connection each. From
    /// connect() to the first byte of the answer to one byte, which a server of TLS 1.3 gives when it has
    /// accepted the client's certificate, and not before.
    Handshake {
        /// Session resumption by a ticket of the connection before.
        resumed: bool,
        /// At so many connections at once.
        connections: u32,
        /// How long.
        millis: u32,
    },
    /// Opens connections, exchanges a byte on each, and keeps them until the next slice.
    Idle {
        /// How many. None at all tells what the processes use without any.
        connections: u32,
    },
}

impl Load {
    /// How long it may take at most; what is not done then has failed.
    pub(crate) fn limit(&self) -> Duration {
        match self {
            Self::Connect { .. }
            | Self::FirstByte { .. }
            | Self::RoundTrip { .. }
            | Self::Idle { .. } => LONGEST + PATIENCE,
            Self::Requests { millis, .. }
            | Self::Rate { millis, .. }
            | Self::Bulk { millis, .. }
            | Self::Handshake { millis, .. } => {
                // Connections are opened before, and the last operations end after.
                2 * Duration::from_millis(u64::from(*millis)) + LONGEST + PATIENCE
            }
        }
    }

    /// Makes it. What was held open for the load before is closed first.
    pub(crate) fn run(&self, target: &Target, kept: &mut Kept) -> Result<Sample, Trouble> {
        idle::close(std::mem::take(&mut kept.idle));
        let to = target.to;
        let time = |millis: u32| Duration::from_millis(u64::from(millis));
        match *self {
            Self::Connect { count } => open::connect(to, count),
            Self::FirstByte { count } => open::first_byte(to, count),
            Self::RoundTrip { size, count } => exchange::round_trip(to, size, count),
            Self::Requests {
                connections,
                size,
                answer,
                keep_alive,
                millis,
            } => {
                let sizes = exchange::Sizes::new(size, answer)?;
                exchange::requests(to, sizes, connections, keep_alive, time(millis))
            }
            Self::Rate {
                per_second,
                connections,
                size,
                answer,
                beside_bulk,
                millis,
            } => {
                let sizes = exchange::Sizes::new(size, answer)?;
                let plan = rate::Plan::new(per_second, connections, time(millis))?;
                rate::run(to, sizes, plan, beside_bulk)
            }
            Self::Bulk { way, write, millis } => bulk::run(to, way, write, time(millis)),
            Self::Handshake {
                resumed,
                connections,
                millis,
            } => handshake::run(target, resumed, connections, time(millis)),
            Self::Idle { connections } => idle::open(to, connections, kept),
        }
    }
}
