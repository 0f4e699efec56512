//! What an agent does to the one at the other end, for one slice of time or so many operations.

use serde::{Deserialize, Serialize};

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
    /// Bytes as fast as they go on one connection.
    Bulk {
        /// Which way.
        way: Way,
        /// Bytes of each write.
        write: u32,
        /// How long.
        millis: u32,
    },
    /// TLS handshakes of the client itself with what ends TLS at the far end, one connection each.
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
