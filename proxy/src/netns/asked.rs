//! Connects that the kernel found in a namespace without listeners, or that it does not know.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sidetrack_abi::event::{EVENT_NAMESPACE_PASSED, EVENT_OTHER_NAMESPACE, Refused};
use tokio::sync::Notify;

/// Namespaces that are remembered until somebody looks: a task can make as many as it likes.
const MOST: usize = 1024;

/// Those of them in which one user connected first, so that none takes the places of all others.
const MOST_OF_USER: usize = MOST / 4;

/// In which namespaces somebody connected, and who. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pending: Arc<Mutex<Pending>>,
    told: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Pending {
    asked: HashMap<u64, Refused>,
    /// How many of them are whose.
    of_users: HashMap<u32, usize>,
}

impl Asked {
    /// Somebody connected.
    pub fn ask(&self, refused: &Refused) {
        let cookie = refused.netns;
        let wants_listeners = |refused: &Refused| {
            matches!(refused.kind, EVENT_OTHER_NAMESPACE | EVENT_NAMESPACE_PASSED)
        };
        let mut pending = self.pending.lock();
        let Pending { asked, of_users } = &mut *pending;
        // The latest process of each is the one most likely to be there still.
        let take = match asked.get(&cookie) {
            Some(before) => wants_listeners(refused) || !wants_listeners(before),
            None if asked.len() < MOST => {
                let of_user = of_users.entry(refused.connection.uid).or_default();
                *of_user += 1;
                *of_user <= MOST_OF_USER
            }
            None => false,
        };
        if take {
            asked.insert(cookie, *refused);
        }
        drop(pending);
        self.told.notify_one();
    }

    /// Resolves when somebody connected.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// What has been asked since the last time: one for each cookie.
    pub fn take(&self) -> HashMap<u64, Refused> {
        std::mem::take(&mut *self.pending.lock()).asked
    }
}

#[cfg(test)]
mod tests {
    use sidetrack_abi::{Redirected, event::EVENT_DATAGRAM_DENIED};

    use super::*;

    fn refused(kind: u32, netns: u64, (uid, pid): (u32, u32)) -> Refused {
        Refused {
            kind,
            errno: 0,
            netns,
            connection: Redirected {
                pid,
                uid,
                ..Redirected::default()
            },
        }
    }

    #[test]
    fn a_task_that_makes_namespaces_without_end_fills_no_memory() {
        let asked = Asked::default();
        for cookie in 0..2 * MOST as u64 {
            asked.ask(&refused(EVENT_OTHER_NAMESPACE, cookie, (1000, 1)));
        }
        asked.ask(&refused(EVENT_OTHER_NAMESPACE, 0, (1000, 2)));
        asked.ask(&refused(EVENT_DATAGRAM_DENIED, 0, (1000, 3)));
        for cookie in 0..2 * MOST as u64 {
            let user = (cookie % 8) as u32;
            asked.ask(&refused(
                EVENT_OTHER_NAMESPACE,
                u64::MAX - cookie,
                (user, 4),
            ));
        }
        let taken = asked.take();
        assert_eq!((taken.len(), taken[&0].connection.pid), (MOST, 2));
        let whose = taken.values().map(|one| one.connection.uid);
        assert_eq!(whose.filter(|uid| *uid == 1000).count(), MOST_OF_USER);
        assert!(asked.take().is_empty());
    }
}
