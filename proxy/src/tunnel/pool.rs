//! Idle tunnels, ready for the next application connection.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::Tunnel;
use crate::{identity::Expected, relay::Transport};

/// Everything that two connections must have in common to use the same tunnel. What differs in
/// any of it, the peer or the network could tell apart, or policy does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Cookie of the network namespace that the tunnel's socket is in.
    pub netns: u64,
    /// Source address that the application had bound, if any.
    pub bind: Option<IpAddr>,
    /// Index of the device that it had bound, if any.
    pub device: Option<NonZeroU32>,
    /// Its socket's mark, 0 if none.
    pub mark: u32,
    /// Its socket's type of service or traffic class, 0 if none.
    pub tos: u32,
    /// The peer.
    pub peer: SocketAddr,
    /// Our own identity, by its name in the configuration.
    pub own: Arc<str>,
    /// Whom the rule expects.
    pub expect: Arc<[Expected]>,
    /// Generation of certificates, trust and policy; see [`Pool::retain_generation`].
    pub generation: u64,
}

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Idle tunnels of one key.
    pub per_key: usize,
    /// Idle tunnels in all.
    pub total: usize,
    /// How long a tunnel may be idle. Shorter than the server's own idle time, so that it is
    /// this end that closes: then no OPEN meets a CLOSE.
    pub idle: Duration,
}

/// The idle tunnels of one peer, for `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The peer.
    pub peer: SocketAddr,
    /// How many are idle.
    pub tunnels: usize,
}

/// Idle tunnels by key, last in, first out: those that are not needed grow old and go.
#[derive(Debug)]
pub struct Pool<T: Transport> {
    limits: Limits,
    shelves: Mutex<Shelves<T>>,
}

#[derive(Debug)]
struct Shelves<T: Transport> {
    by_key: HashMap<PoolKey, VecDeque<Shelved<T>>>,
    total: usize,
    /// Tunnels of an older generation are not taken back.
    oldest: u64,
}

#[derive(Debug)]
struct Shelved<T: Transport> {
    tunnel: Tunnel<T>,
    since: Instant,
}

impl<T: Transport> Shelved<T> {
    fn is_usable(&mut self, idle: Duration) -> bool {
        self.since.elapsed() < idle && self.tunnel.is_usable()
    }
}

impl<T: Transport> Pool<T> {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            shelves: Mutex::new(Shelves {
                by_key: HashMap::new(),
                total: 0,
                oldest: 0,
            }),
        }
    }

    /// The tunnel that was used last, if one is idle and alive.
    pub fn take(&self, key: &PoolKey) -> Option<Tunnel<T>> {
        loop {
            // The lock is held for the removal only: looking at a tunnel reads its socket.
            let mut shelved = self.shelves.lock().pop(key)?;
            if shelved.is_usable(self.limits.idle) {
                return Some(shelved.tunnel);
            }
            shelved.tunnel.close();
        }
    }

    /// Puts a tunnel back. One too many, of this key or in all, pushes out the one that was
    /// idle longest.
    pub fn put(&self, key: PoolKey, tunnel: Tunnel<T>) {
        let out = self.shelves.lock().push(key, tunnel, &self.limits);
        if let Some(tunnel) = out {
            tunnel.close();
        }
    }

    /// Closes what is dead, too old or idle for too long. To be called each second: a tunnel
    /// that its server closes is then given up while the server still waits for it.
    pub fn sweep(&self) {
        let idle = self.limits.idle;
        self.remove(|_, shelved| !shelved.is_usable(idle));
    }

    /// Keeps only tunnels of `generation` and later, also of those that are leased now and
    /// come back: certificates, trust or policy changed.
    pub fn retain_generation(&self, generation: u64) {
        self.shelves.lock().oldest = generation;
        self.remove(|key, _| key.generation < generation);
    }

    /// Closes those of a network namespace.
    pub fn forget_namespace(&self, netns: u64) {
        self.remove(|key, _| key.netns == netns);
    }

    /// Closes all.
    pub fn clear(&self) {
        self.remove(|_, _| true);
    }

    /// How many tunnels are idle, by peer, in the order of their addresses.
    pub fn idle(&self) -> Vec<Idle> {
        let mut peers = std::collections::BTreeMap::new();
        for (key, shelf) in &self.shelves.lock().by_key {
            *peers.entry(key.peer).or_insert(0) += shelf.len();
        }
        peers
            .into_iter()
            .map(|(peer, tunnels)| Idle { peer, tunnels })
            .collect()
    }

    fn remove(&self, mut unwanted: impl FnMut(&PoolKey, &mut Shelved<T>) -> bool) {
        let mut out = Vec::new();
        {
            let mut shelves = self.shelves.lock();
            shelves.by_key.retain(|key, shelf| {
                for mut shelved in std::mem::take(shelf) {
                    if unwanted(key, &mut shelved) {
                        out.push(shelved.tunnel);
                    } else {
                        shelf.push_back(shelved);
                    }
                }
                !shelf.is_empty()
            });
            shelves.total -= out.len();
        }
        out.into_iter().for_each(Tunnel::close);
    }
}

impl<T: Transport> Shelves<T> {
    fn pop(&mut self, key: &PoolKey) -> Option<Shelved<T>> {
        let shelf = self.by_key.get_mut(key)?;
        let newest = shelf.pop_back();
        if shelf.is_empty() {
            self.by_key.remove(key);
        }
        self.total -= usize::from(newest.is_some());
        newest
    }

    /// Answers the tunnel that has no place.
    fn push(&mut self, key: PoolKey, tunnel: Tunnel<T>, limits: &Limits) -> Option<Tunnel<T>> {
        if key.generation < self.oldest || limits.per_key == 0 || limits.total == 0 {
            return Some(tunnel);
        }
        let full = self.by_key.get(&key).map_or(0, VecDeque::len) >= limits.per_key;
        let out = if full {
            self.pop_oldest(&key)
        } else if self.total >= limits.total {
            let oldest = self
                .by_key
                .iter()
                .min_by_key(|(_, shelf)| shelf.front().map(|shelved| shelved.since))
                .map(|(key, _)| key.clone());
            oldest.and_then(|key| self.pop_oldest(&key))
        } else {
            None
        };
        let since = Instant::now();
        let shelf = self.by_key.entry(key).or_default();
        shelf.push_back(Shelved { tunnel, since });
        self.total += 1;
        out
    }

    fn pop_oldest(&mut self, key: &PoolKey) -> Option<Tunnel<T>> {
        let shelf = self.by_key.get_mut(key)?;
        let oldest = shelf.pop_front();
        if shelf.is_empty() {
            self.by_key.remove(key);
        }
        self.total -= usize::from(oldest.is_some());
        oldest.map(|shelved| shelved.tunnel)
    }
}

#[cfg(test)]
mod tests;
