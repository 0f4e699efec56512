//! Connections that are alive: how many there may be, what they are, and how they end when the
//! daemon does.
//!
//! Strangers who have not proved anything yet, connections of applications and established
//! tunnels are counted apart and have bounds of their own, so that no kind takes another's room.

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
    policy::again::Carried,
    record::{Carriage, Direction, Record},
    refusal::{Reason, Refusal},
};

/// All live connections of a daemon. Cheap to clone.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    bounds: Bounds,
    next: AtomicU64,
    present: Mutex<Present>,
    draining: AtomicBool,
    drain: watch::Sender<bool>,
    left: Notify,
    cut: watch::Sender<bool>,
}

/// How many there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections from outside of which it is not known yet who and what they are.
    pub strangers: usize,
    /// Connections of applications.
    pub connections: usize,
    /// Established tunnels from peers, with and without a lease.
    pub tunnels: usize,
}

#[derive(Default)]
struct Present {
    strangers: usize,
    connections: HashMap<u64, Option<LiveConnection>>,
    tunnels: usize,
}

/// One live connection, as `connections` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct LiveConnection {
    /// Its id in the records of both ends.
    pub id: String,
    /// `outbound`, `inbound`, `egress` or `listener`.
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
    /// Cookie of its network namespace, if that is not the daemon's own.
    pub netns: Option<u64>,
    /// How the bytes go.
    pub carriage: &'static str,
}

/// A connection's place among the live ones; given back when dropped.
pub struct Place {
    live: Live,
    key: u64,
    carried: Mutex<Carried>,
}

/// A place among those who are not known yet; given back when dropped.
pub struct StrangerPlace {
    live: Live,
}

/// A tunnel's place among the established ones; given back when dropped.
pub struct TunnelPlace {
    live: Live,
}

impl Live {
    /// Room for as many as `bounds` say.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            inner: Arc::new(Inner {
                bounds,
                next: AtomicU64::new(0),
                present: Mutex::default(),
                draining: AtomicBool::new(false),
                drain: watch::channel(false).0,
                left: Notify::new(),
                cut: watch::channel(false).0,
            }),
        }
    }

    /// Takes a place for a connection that was accepted. Also while the daemon drains: who is
    /// accepted was let in, and is not lost.
    ///
    /// # Errors
    /// [`Reason::TooManyConnections`]
    pub fn enter(&self) -> Result<Place, Refusal> {
        let most = self.inner.bounds.connections;
        let mut present = self.inner.present.lock();
        if present.connections.len() >= most {
            return Err(Refusal::new(
                Reason::TooManyConnections,
                format!("{most} connections are alive"),
            ));
        }
        let key = self.inner.next.fetch_add(1, Ordering::Relaxed);
        present.connections.insert(key, None);
        drop(present);
        Ok(Place {
            live: self.clone(),
            key,
            carried: Mutex::new(Carried::Undecided),
        })
    }

    /// Takes a place for a lease: a connection that a peer can still move to another tunnel.
    ///
    /// # Errors
    /// [`Reason::TooManyConnections`], or [`Reason::Draining`] once the daemon drains.
    pub fn enter_lease(&self) -> Result<Place, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(Reason::Draining, "the daemon is stopping"));
        }
        self.enter()
    }

    /// Takes a place for a connection from outside until it is known who it is. Never waits: a
    /// queue of strangers would be theirs to fill.
    ///
    /// # Errors
    /// [`Reason::TooManyHandshakes`]
    pub fn arrive(&self) -> Result<StrangerPlace, Refusal> {
        let most = self.inner.bounds.strangers;
        let mut present = self.inner.present.lock();
        if present.strangers >= most {
            return Err(Refusal::new(
                Reason::TooManyHandshakes,
                format!("{most} connections from outside had not said who they are"),
            ));
        }
        present.strangers += 1;
        drop(present);
        Ok(StrangerPlace { live: self.clone() })
    }

    /// Takes a place for a tunnel that a peer established.
    ///
    /// # Errors
    /// [`Reason::TooManyConnections`]
    pub fn enter_tunnel(&self) -> Result<TunnelPlace, Refusal> {
        let most = self.inner.bounds.tunnels;
        let mut present = self.inner.present.lock();
        if present.tunnels >= most {
            return Err(Refusal::new(
                Reason::TooManyConnections,
                format!("{most} tunnels from peers are established"),
            ));
        }
        present.tunnels += 1;
        drop(present);
        Ok(TunnelPlace { live: self.clone() })
    }

    /// How many connections of applications there are.
    pub fn count(&self) -> usize {
        self.inner.present.lock().connections.len()
    }

    /// Whether the daemon is about to end.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// All that have told what they are, oldest first.
    pub fn list(&self) -> Vec<LiveConnection> {
        let present = self.inner.present.lock();
        let mut list: Vec<(u64, LiveConnection)> = present
            .connections
            .iter()
            .filter_map(|(key, connection)| Some((*key, connection.clone()?)))
            .collect();
        drop(present);
        list.sort_by_key(|(key, _)| *key);
        list.into_iter().map(|(_, connection)| connection).collect()
    }

    /// Takes no new leases from here on.
    pub fn begin_drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        self.inner.drain.send_replace(true);
    }

    /// Tells of the drain those who take more than one thing from their clients.
    pub fn drain(&self) -> Drain {
        Drain(self.inner.drain.subscribe())
    }

    /// Waits until the last connection of an application has ended.
    pub async fn connections_ended(&self) {
        self.until(|present| present.connections.is_empty()).await;
    }

    /// Waits until everybody from outside is a connection, a tunnel or gone.
    pub async fn strangers_gone(&self) {
        self.until(|present| present.strangers == 0).await;
    }

    /// Waits until the last tunnel from a peer has ended.
    pub async fn tunnels_ended(&self) {
        self.until(|present| present.tunnels == 0).await;
    }

    /// Only after [`Self::begin_drain`]: before it nobody is told who leaves.
    async fn until(&self, reached: impl Fn(&Present) -> bool) {
        loop {
            let left = self.inner.left.notified();
            if reached(&self.inner.present.lock()) {
                return;
            }
            left.await;
        }
    }

    fn leave(&self, leave: impl FnOnce(&mut Present)) {
        leave(&mut self.inner.present.lock());
        // Nobody waits before: the lock of the waiters is not taken for each connection.
        if self.is_draining() {
            self.inner.left.notify_waiters();
        }
    }

    /// When everything has to end whatever it does.
    pub fn deadline(&self) -> Deadline {
        Deadline {
            cut: self.inner.cut.subscribe(),
        }
    }

    /// Whether everything that is left is being ended.
    pub fn is_cut(&self) -> bool {
        *self.inner.cut.borrow()
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
                Direction::Egress => "egress",
                Direction::Listener => "listener",
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
            netns: record.netns,
            carriage: match record.carriage {
                Carriage::None => "none",
                Carriage::Plain => "plain",
                Carriage::Tls => "tls",
                Carriage::TunnelNew | Carriage::TunnelReused => "tunnel",
            },
        };
        self.live
            .inner
            .present
            .lock()
            .connections
            .insert(self.key, Some(connection));
    }

    /// Says how the connection is carried, which a reload may judge differently.
    pub fn carry(&self, carried: Carried) {
        *self.carried.lock() = carried;
    }

    /// What was said of that last.
    pub fn carried(&self) -> Carried {
        self.carried.lock().clone()
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

/// See [`Live::drain`].
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Resolves when it begins, and for ever after.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.leave(|present| {
            present.connections.remove(&self.key);
        });
    }
}

impl Drop for StrangerPlace {
    fn drop(&mut self) {
        self.live.leave(|present| present.strangers -= 1);
    }
}

impl Drop for TunnelPlace {
    fn drop(&mut self) {
        self.live.leave(|present| present.tunnels -= 1);
    }
}

#[cfg(test)]
mod tests;
