//! Connections that are alive: how many there may be, what they are, and how they end when the
//! daemon does.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::{
    record::{Carriage, Direction, Record},
    refusal::{Reason, Refusal},
};

/// All live connections of a daemon. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    most: usize,
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Option<LiveConnection>>>,
    draining: AtomicBool,
    left: Notify,
    cut: watch::Sender<bool>,
}

/// One live connection, as `connections` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct LiveConnection {
    /// Its id in the records of both ends.
    pub id: String,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// Seconds since the epoch.
    pub since: u64,
    /// Who connected.
    pub source: SocketAddr,
    /// Where to.
    pub destination: Option<SocketAddr>,
    /// Our own identity on the wire.
    pub identity: Option<Arc<str>>,
    /// The peer's.
    pub peer_identity: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// How the bytes go.
    pub carriage: &'static str,
}

/// A connection's place among the live ones; given back when dropped.
pub struct Place {
    live: Live,
    key: u64,
}

impl Live {
    /// Room for `most` connections.
    pub fn new(most: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                most,
                next: AtomicU64::new(0),
                entries: Mutex::new(HashMap::new()),
                draining: AtomicBool::new(false),
                left: Notify::new(),
                cut: watch::channel(false).0,
            }),
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// If there is none, or the daemon is draining.
    pub fn enter(&self) -> Result<Place, Refusal> {
        if self.inner.draining.load(Ordering::Relaxed) {
            return Err(Refusal::new(Reason::Draining, "the daemon is stopping"));
        }
        let key = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.inner.entries.lock();
        if entries.len() >= self.inner.most {
            return Err(Refusal::new(
                Reason::TooManyConnections,
                format!("{} connections are alive", self.inner.most),
            ));
        }
        entries.insert(key, None);
        drop(entries);
        Ok(Place {
            live: self.clone(),
            key,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.inner.entries.lock().len()
    }

    /// Whether no new ones are taken.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// All that have told what they are, oldest first.
    pub fn list(&self) -> Vec<LiveConnection> {
        let entries = self.inner.entries.lock();
        let mut list: Vec<(u64, LiveConnection)> = entries
            .iter()
            .filter_map(|(key, connection)| Some((*key, connection.clone()?)))
            .collect();
        drop(entries);
        list.sort_by_key(|(key, _)| *key);
        list.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Takes no new ones from here on, and waits until the last one has ended.
    pub async fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        loop {
            let left = self.inner.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }

    /// When everything has to end whatever it does.
    pub fn deadline(&self) -> Deadline {
        Deadline {
            cut: self.inner.cut.subscribe(),
        }
    }

    /// Ends all that are left with a reset.
    pub fn cut(&self) {
        self.inner.cut.send_replace(true);
    }
}

impl Place {
    /// Tells what the connection is, as far as its record knows.
    pub fn describe(&self, record: &Record) {
        let connection = LiveConnection {
            id: format!("{:?}", record.id),
            direction: match record.direction {
                Direction::Outbound => "outbound",
                Direction::Inbound => "inbound",
            },
            since: record
                .at
                .duration_since(SystemTime::UNIX_EPOCH)
                .map(|since| since.as_secs())
                .unwrap_or_default(),
            source: record.source.get(),
            destination: record.destination.map(|destination| destination.get()),
            identity: record.own_identity.clone(),
            peer_identity: record.peer_identity.clone(),
            rule: record.rule.clone(),
            carriage: match record.carriage {
                Carriage::None => "none",
                Carriage::Plain => "plain",
                Carriage::Tls => "tls",
                Carriage::TunnelNew | Carriage::TunnelReused => "tunnel",
            },
        };
        self.live
            .inner
            .entries
            .lock()
            .insert(self.key, Some(connection));
    }

    /// When the connection has to end whatever it does.
    pub fn deadline(&self) -> Deadline {
        self.live.deadline()
    }
}

/// See [`Place::deadline`].
pub struct Deadline {
    cut: watch::Receiver<bool>,
}

impl Deadline {
    /// Resolves when it has passed.
    pub async fn passed(&mut self) -> Refusal {
        if self.cut.wait_for(|cut| *cut).await.is_err() {
            // Whoever sets deadlines is gone without having set one.
            std::future::pending::<()>().await;
        }
        Refusal::new(
            Reason::DrainDeadline,
            "the daemon stopped before the connection ended",
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.inner.entries.lock().remove(&self.key);
        if self.live.is_draining() {
            self.live.inner.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_ends_with_the_last_connection() {
        let live = Live::new(2);
        let (first, second) = (live.enter().unwrap(), live.enter().unwrap());
        assert_eq!(
            live.enter().err().unwrap().reason,
            Reason::TooManyConnections
        );
        let drained = tokio::spawn({
            let live = live.clone();
            async move { live.drain().await }
        });
        while !live.is_draining() {
            tokio::task::yield_now().await;
        }
        assert_eq!(live.enter().err().unwrap().reason, Reason::Draining);
        drop(first);
        assert!(!drained.is_finished());
        drop(second);
        drained.await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_reaches_everybody() {
        let live = Live::new(1);
        let place = live.enter().unwrap();
        let mut deadline = place.deadline();
        live.cut();
        assert_eq!(deadline.passed().await.reason, Reason::DrainDeadline);
    }
}
