//! The access record: exactly one for each connection, written when it ends.
//!
//! [`Record`] is filled as the connection goes through its phases and writes itself when it is
//! dropped, so that a cancelled task, a panic or an early return still leaves its line.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

use crate::{
    addr::{ClientAddr, OriginalDst, UpstreamAddr},
    config::Protocol,
    refusal::{Reason, Refusal},
    relay::Moved,
};

pub mod line;
pub mod request;
pub mod sink;
pub mod tally;

pub use sink::RecordSink;

/// Which way a connection goes, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// An application of this host connected.
    Outbound,
    /// An application of this host was connected to.
    Inbound,
    /// A peer connected to others through this gateway.
    Egress,
    /// Somebody connected to a listener of ours.
    Listener,
}

/// Identifies one connection in the records of both ends: random, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub [u8; 16]);

/// What the TLS layer settled on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// Key exchange group, `X25519MLKEM768`.
    pub group: String,
    /// Cipher suite, `TLS13_AES_128_GCM_SHA256`.
    pub suite: String,
    /// Whether the session was resumed.
    pub resumed: bool,
}

/// How the bytes went between the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carriage {
    /// Not at all, or not known yet.
    None,
    /// As they are.
    Plain,
    /// A TLS connection of their own.
    Tls,
    /// A tunnel that was made for this connection.
    TunnelNew,
    /// A tunnel that had served others before.
    TunnelReused,
}

/// The one record of one connection.
#[derive(Debug)]
pub struct Record {
    sink: RecordSink,
    /// How it ended was said.
    ended: bool,
    /// Whether its refusal is one of a connection.
    counted: bool,
    started: Instant,
    /// When it was accepted.
    pub at: SystemTime,
    /// See [`ConnectionId`].
    pub id: ConnectionId,
    /// See [`Direction`].
    pub direction: Direction,
    /// TCP, except for what the kernel refused.
    pub protocol: Protocol,
    /// The application that connected, as far as it is known.
    pub source: ClientAddr,
    /// Where it wanted to go; absent only if that is the reason of the refusal.
    pub destination: Option<OriginalDst>,
    /// Where this proxy connected; absent if it did not.
    pub upstream: Option<UpstreamAddr>,
    /// Our own identity on the wire; absent in plain text.
    pub own_identity: Option<Arc<str>>,
    /// The peer's proven identity; absent in plain text and before it proved one.
    pub peer_identity: Option<Arc<str>>,
    /// The proven identity of the endpoint behind a listener, where the client proved one too.
    pub upstream_identity: Option<Arc<str>>,
    /// The rule or listener that decided; absent if none did.
    pub rule: Option<Arc<str>>,
    /// See [`Carriage`].
    pub carriage: Carriage,
    /// Absent in plain text.
    pub tls: Option<TlsFacts>,
    /// The server name that a client of a listener asked for; nothing proves it.
    pub server_name: Option<String>,
    /// Process that connected, where the kernel told.
    pub pid: Option<u32>,
    /// Its user id, where the kernel told.
    pub uid: Option<u32>,
    /// Cookie of the application's network namespace, if that is not the daemon's own.
    pub netns: Option<u64>,
    /// Bytes from the client to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the client.
    pub bytes_down: u64,
    /// Why it was refused or cut off; absent if both sides closed cleanly.
    pub refusal: Option<Refusal>,
}

impl Record {
    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Begins the record of a connection that was accepted just now.
    pub fn begin(sink: &RecordSink, direction: Direction, source: SocketAddr) -> Self {
        Self {
            sink: sink.clone(),
            ended: false,
            counted: true,
            started: Instant::now(),
            at: SystemTime::now(),
            id: ConnectionId::random(),
            direction,
            protocol: Protocol::Tcp,
            source: ClientAddr::new(source),
            destination: None,
            upstream: None,
            own_identity: None,
            peer_identity: None,
            upstream_identity: None,
            rule: None,
            carriage: Carriage::None,
            tls: None,
            server_name: None,
            pid: None,
            uid: None,
            netns: None,
            bytes_up: 0,
            bytes_down: 0,
            refusal: None,
        }
    }

    /// It turned out to be a tunnel, each of whose leases has a record, or our own canary: this one
    /// would count what is no connection of an application.
    pub fn is_no_connection(&mut self) {
        self.sink = RecordSink::off();
        self.counted = false;
    }

    /// Its reason is that of one of its requests, whose record counts it.
    pub fn is_told_by_request(&mut self) {
        self.counted = false;
    }

    /// Says how the connection ended, and writes it.
    pub fn end(mut self, moved: Moved, end: Result<(), Refusal>) {
        self.bytes_up = moved.up;
        self.bytes_down = moved.down;
        if let Err(refusal) = end {
            self.refuse(refusal);
        }
        self.ended = true;
    }

    /// Notes the reason, once: the first cause is the true one, what follows are its effects.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// The reason, if it was refused or cut off.
    pub fn reason(&self) -> Option<Reason> {
        self.refusal.as_ref().map(|refusal| refusal.reason)
    }

    /// How long the connection has lasted.
    pub fn duration(&self) -> Duration {
        self.started.elapsed()
    }
}

impl ConnectionId {
    /// A new one: a counter under two keyed hashes, whose keys the kernel's random source
    /// gave this process. No system call for each connection, no repetition across restarts
    /// and hosts. It identifies and is no secret: nothing is granted to who knows one.
    pub fn random() -> Self {
        static KEYS: LazyLock<[RandomState; 2]> =
            LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let [high, low] = KEYS.each_ref().map(|keys| u128::from(keys.hash_one(count)));
        Self((high << 64 | low).to_be_bytes())
    }
}

impl std::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            // Its task was dropped: a connection that was cut off never looks like one that ended.
            self.refuse(Refusal::new(
                Reason::DrainDeadline,
                "the daemon stopped before the connection ended",
            ));
        }
        if let Some(reason) = self.reason()
            && self.counted
        {
            tally::count(reason);
        }
        let sink = self.sink.clone();
        sink.write(self);
    }
}
