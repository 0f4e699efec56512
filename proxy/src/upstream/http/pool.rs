//! All connections of one upstream, of one generation of policy.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Link, Shelf, keeper};
use crate::{
    addr::UpstreamAddr,
    data::DataPath,
    policy::Policy,
    refusal::Refusal,
    upstream::{Endpoint, Upstream},
};

/// The connections of one upstream. Those that are idle end with it.
#[derive(Default)]
pub(in crate::upstream) struct Pool {
    /// Few, and read by each request: looked through, as the balancer does.
    shelves: ArcSwap<Vec<Arc<Shelf>>>,
    links: Mutex<Links>,
    retired: AtomicBool,
}

/// All that are open, in use or idle.
#[derive(Default)]
struct Links {
    next: u64,
    open: HashMap<u64, Arc<Link>>,
    watched: bool,
}

/// A connection's place among those that are open; given back when dropped.
pub(super) struct Alive {
    pub(super) link: Arc<Link>,
    pool: Arc<Pool>,
    id: u64,
}

impl Pool {
    /// What is kept for `at`.
    pub(super) fn shelf(&self, at: UpstreamAddr) -> Arc<Shelf> {
        let find = |shelves: &[Arc<Shelf>]| shelves.iter().find(|shelf| shelf.at == at).cloned();
        if let Some(shelf) = find(&self.shelves.load()) {
            return shelf;
        }
        let new = Arc::new(Shelf::new(at));
        self.shelves.rcu(|shelves| match find(shelves) {
            Some(_) => Vec::clone(shelves),
            None => shelves.iter().chain([&new]).cloned().collect(),
        });
        let shelf = find(&self.shelves.load()).unwrap_or(new);
        if self.retired.load(Ordering::SeqCst) {
            shelf.retire();
        }
        shelf
    }

    /// Forgets addresses that are not among `endpoints` any more.
    pub(in crate::upstream) fn keep_only(&self, endpoints: &[Arc<Endpoint>]) {
        let stays = |shelf: &Arc<Shelf>| endpoints.iter().any(|endpoint| endpoint.at == shelf.at);
        if self.shelves.load().iter().all(stays) {
            return;
        }
        let before = self.shelves.rcu(|shelves| {
            let stay = shelves.iter().filter(|shelf| stays(shelf));
            stay.cloned().collect::<Vec<_>>()
        });
        for shelf in before.iter().filter(|shelf| !stays(shelf)) {
            shelf.retire();
        }
    }

    /// Closes what is idle, and from now on what becomes it.
    pub(in crate::upstream) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        for shelf in self.shelves.load().iter() {
            shelf.retire();
        }
    }

    /// Takes a new connection among those that reloads judge.
    pub(super) fn register(
        self: &Arc<Self>,
        upstream: &Upstream,
        data: &Arc<DataPath>,
        link: Link,
    ) -> Result<Alive, Refusal> {
        let link = Arc::new(link);
        let (id, watched) = {
            let mut links = self.links.lock();
            let id = links.next;
            links.next += 1;
            links.open.insert(id, Arc::clone(&link));
            (id, std::mem::replace(&mut links.watched, true))
        };
        let alive = Alive {
            link,
            pool: Arc::clone(self),
            id,
        };
        if !watched {
            let keep = keeper::keep(
                Arc::clone(self),
                Arc::clone(&upstream.name),
                Arc::clone(data),
            );
            tokio::spawn(keep);
        }
        // In this order: a reload that comes after this look finds it among those that are open.
        let policy = data.policy.load();
        if !self.is_of(&policy, &upstream.name) {
            let link = &alive.link;
            policy.upstream_again(&upstream.name, link.server.as_deref(), link.at)?;
        }
        Ok(alive)
    }

    /// Whether it is the one of this generation.
    pub(super) fn is_of(self: &Arc<Self>, policy: &Policy, name: &str) -> bool {
        let upstream = policy.upstream(name);
        upstream.is_some_and(|upstream| Arc::ptr_eq(&upstream.http, self))
    }

    /// All that are open.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().open.values().cloned().collect()
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        for shelf in self.shelves.load().iter() {
            shelf.sweep();
        }
    }

    /// Whether none is open; then nobody watches over them from here on.
    pub(super) fn rests(&self) -> bool {
        let mut links = self.links.lock();
        links.watched = !links.open.is_empty();
        !links.watched
    }

    /// How many are idle or open to further requests.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.shelves.load().iter().map(|shelf| shelf.kept()).sum()
    }

    /// How many are open.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.links.lock().open.len()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.pool.links.lock().open.remove(&self.id);
    }
}
