//! Connects that the kernel found in a namespace without listeners.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Namespaces that are remembered until somebody looks: a task can make as many as it likes.
const MOST: usize = 1024;

/// In which namespaces somebody connected, and who. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    asked: Arc<Mutex<HashMap<u64, u32>>>,
    told: Arc<Notify>,
}

impl Asked {
    /// Process `pid` connected in the namespace with this cookie.
    pub fn ask(&self, cookie: u64, pid: u32) {
        let mut asked = self.asked.lock();
        // The latest process of each is the one most likely to be there still.
        if asked.len() < MOST || asked.contains_key(&cookie) {
            asked.insert(cookie, pid);
        }
        drop(asked);
        self.told.notify_one();
    }

    /// Resolves when somebody connected.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// What has been asked since the last time: a process for each cookie.
    pub fn take(&self) -> HashMap<u64, u32> {
        std::mem::take(&mut self.asked.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_makes_namespaces_without_end_fills_no_memory() {
        let asked = Asked::default();
        for cookie in 0..2 * MOST as u64 {
            asked.ask(cookie, 1);
        }
        asked.ask(0, 2);
        let taken = asked.take();
        assert_eq!((taken.len(), taken[&0]), (MOST, 2));
        assert!(asked.take().is_empty());
    }
}
