//! What a daemon that intercepts nothing says of itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use serde::Serialize;

use crate::{
    app::{Plain, ServingReport},
    record::tally,
};

/// Its state, as one JSON object. The keys that [`super::status::Status`] has too mean the same.
#[derive(Debug, Serialize)]
pub struct PlainStatus {
    /// The instance's name.
    pub instance: String,
    /// Version of the daemon.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// Seconds since it was ready.
    pub uptime: u64,
    /// `running` or `draining`.
    pub state: &'static str,
    /// False, and so told apart from a daemon that intercepts.
    pub intercepts: bool,
    /// Whether it does all that is configured: it would not run otherwise.
    pub effective: bool,
    /// Generation of the policy.
    pub generation: u32,
    /// Live connections.
    pub connections: usize,
    /// TLS handshakes that were begun, in both directions.
    pub handshakes: u64,
    /// Access records that could not be written.
    pub records_lost: u64,
    /// Connections that were refused or cut off, by reason: each has one record.
    pub refused: BTreeMap<&'static str, u64>,
    /// Listeners, and what is behind them.
    #[serde(flatten)]
    pub serving: ServingReport,
}

impl PlainStatus {
    /// That of a daemon.
    pub fn of(plain: &Arc<Plain>) -> Self {
        let policy = plain.data.policy.load();
        let live = &plain.data.live;
        Self {
            instance: policy.instance().to_string(),
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: plain.since.elapsed().as_secs(),
            state: if live.is_draining() {
                "draining"
            } else {
                "running"
            },
            intercepts: false,
            effective: true,
            generation: policy.generation,
            connections: live.count(),
            handshakes: plain.data.handshakes.load(Ordering::Relaxed),
            records_lost: plain.data.sink.lost(),
            refused: tally::refused(),
            serving: plain.serving(),
        }
    }
}
