//! Connects that the kernel found in a namespace without listeners, or that it does not know.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sidetrack_abi::event::{EVENT_NAMESPACE_PASSED, EVENT_OTHER_NAMESPACE, Refused};
use tokio::sync::Notify;

/// Namespaces that are remembered until somebody looks: a task can make as many as it likes.
const MOST: usize = 1024;

/// In which namespaces somebody connected, and who. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    asked: Arc<Mutex<HashMap<u64, Refused>>>,
    told: Arc<Notify>,
}

impl Asked {
    /// Somebody connected.
    pub fn ask(&self, refused: &Refused) {
        let cookie = refused.netns;
        let wants_listeners = |refused: &Refused| {
            matches!(refused.kind, EVENT_OTHER_NAMESPACE | EVENT_NAMESPACE_PASSED)
        };
        let mut asked = self.asked.lock();
        // The latest process of each is the one most likely to be there still.
        let take = match asked.get(&cookie) {
            Some(before) => wants_listeners(refused) || !wants_listeners(before),
            None => asked.len() < MOST,
        };
        if take {
            asked.insert(cookie, *refused);
        }
        drop(asked);
        self.told.notify_one();
    }

    /// Resolves when somebody connected.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// What has been asked since the last time: one for each cookie.
    pub fn take(&self) -> HashMap<u64, Refused> {
        std::mem::take(&mut self.asked.lock())
    }
}

#[cfg(test)]
mod tests {
    use sidetrack_abi::{Redirected, event::EVENT_DATAGRAM_DENIED};

    use super::*;

    fn refused(kind: u32, netns: u64, pid: u32) -> Refused {
        Refused {
            kind,
            errno: 0,
            netns,
            connection: Redirected {
                pid,
                ..Redirected::default()
            },
        }
    }

    #[test]
    fn a_task_that_makes_namespaces_without_end_fills_no_memory() {
        let asked = Asked::default();
        for cookie in 0..2 * MOST as u64 {
            asked.ask(&refused(EVENT_OTHER_NAMESPACE, cookie, 1));
        }
        asked.ask(&refused(EVENT_OTHER_NAMESPACE, 0, 2));
        asked.ask(&refused(EVENT_DATAGRAM_DENIED, 0, 3));
        let taken = asked.take();
        assert_eq!((taken.len(), taken[&0].connection.pid), (MOST, 2));
        assert!(asked.take().is_empty());
    }
}
