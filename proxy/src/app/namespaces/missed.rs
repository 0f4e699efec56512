//! Namespaces in which somebody connected who is not there any more: all that processes are in is
//! searched for them. Whoever makes a namespace, connects and ends causes a search.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use sidetrack_abi::event::Refused;

/// Between two searches, whoever causes them.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Between two that the same user causes, where nothing is found: doubled each time up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A search is over for this many times as long as it took, at least.
const REST: u32 = 20;

/// Namespaces and users that are remembered.
const MOST: usize = 1_024;

/// Those of the namespaces in which one user connected.
const MOST_OF_USER: usize = MOST / 4;

/// Those to search for. A user whose searches find nothing waits longer for the next one.
#[derive(Default)]
pub(super) struct Missed {
    asked: HashMap<u64, Refused>,
    causes: HashMap<u32, Cause>,
    rested: Option<Instant>,
}

struct Cause {
    pause: Duration,
    due: Instant,
}

/// What is to be done.
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// Not yet.
    At(Instant),
    /// A search for these, by cookie.
    Now(HashMap<u64, Refused>),
}

impl Missed {
    pub(super) fn add(&mut self, refused: Refused) {
        let uid = refused.connection.uid;
        let others = self.asked.values();
        let of_user = others.filter(|other| other.connection.uid == uid).count();
        let is_known = self.asked.contains_key(&refused.netns);
        if is_known || (self.asked.len() < MOST && of_user < MOST_OF_USER) {
            self.asked.insert(refused.netns, refused);
        }
    }

    /// Those whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.asked.is_empty() {
            return Next::Nothing;
        }
        let due = |refused: &Refused| {
            let cause = self.causes.get(&refused.connection.uid);
            cause.map(|cause| cause.due).max(self.rested)
        };
        let first = self.asked.values().map(due).min().flatten();
        if let Some(first) = first.filter(|first| now < *first) {
            return Next::At(first);
        }
        let is_due = |refused: &Refused| due(refused).is_none_or(|due| due <= now);
        let (now, later) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|(_, refused)| is_due(refused));
        self.asked = later;
        Next::Now(now)
    }

    /// A search for these, from one moment to the other, has found those.
    pub(super) fn searched(
        &mut self,
        asked: &HashMap<u64, Refused>,
        found: &HashSet<u64>,
        (begun, now): (Instant, Instant),
    ) {
        self.rested = Some(now + FIRST_PAUSE.max((now - begun) * REST));
        self.causes
            .retain(|_, cause| cause.due + LONGEST_PAUSE > now);
        let useful: HashSet<u32> = found
            .iter()
            .filter_map(|cookie| asked.get(cookie))
            .map(|refused| refused.connection.uid)
            .collect();
        for uid in asked.values().map(|refused| refused.connection.uid) {
            if useful.contains(&uid) {
                self.causes.remove(&uid);
            } else if self.causes.len() < MOST || self.causes.contains_key(&uid) {
                let cause = self.causes.entry(uid).or_insert(Cause {
                    pause: FIRST_PAUSE,
                    due: now,
                });
                // Once for each search, however many of them the user has caused.
                if cause.due <= now {
                    cause.pause = (cause.pause * 2).min(LONGEST_PAUSE);
                    cause.due = now + cause.pause;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sidetrack_abi::Redirected;

    use super::*;

    fn refused(netns: u64, uid: u32) -> Refused {
        Refused {
            kind: 0,
            errno: 0,
            netns,
            connection: Redirected {
                uid,
                ..Redirected::default()
            },
        }
    }

    #[test]
    fn a_user_whose_searches_find_nothing_waits_longer_and_delays_nobody_else() {
        let mut missed = Missed::default();
        let mut now = Instant::now();
        let mut searches = 0;
        // For a minute, a new one each 50 ms, of which none is ever found.
        for netns in 0..1_200 {
            missed.add(refused(netns, 1));
            if let Next::Now(asked) = missed.next(now) {
                searches += 1;
                missed.searched(&asked, &HashSet::new(), (now, now));
            }
            now += Duration::from_millis(50);
        }
        assert!((12..=20).contains(&searches), "{searches}");
        missed.asked.clear();
        missed.add(refused(1, 2));
        now += FIRST_PAUSE;
        assert!(matches!(missed.next(now), Next::Now(asked) if asked.contains_key(&1)));
    }
    #[test]
    fn a_user_who_makes_namespaces_without_end_leaves_room_for_those_of_others() {
        let mut missed = Missed::default();
        for netns in 0..2 * MOST as u64 {
            missed.add(refused(netns, 1));
        }
        assert_eq!(missed.asked.len(), MOST_OF_USER);
        missed.add(refused(u64::MAX, 2));
        assert!(missed.asked.contains_key(&u64::MAX));
    }
}
