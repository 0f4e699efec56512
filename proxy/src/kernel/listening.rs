//! Which applications listen, as sk_lookup needs it.
//!
//! The programs count sockets as they begin and cease to listen. Those that did so before the
//! programs were attached, and what two CPUs did to one count in the same moment, are mended
//! from the kernel's own list.

use std::collections::{HashMap, HashSet};

use sidetrack_abi::inbound::{LISTENING_ALL, LISTENING_V6_ONLY, ListeningKey};

use super::{KernelError, sockdiag};

/// Listening sockets of a namespace, as the kernel's list has them.
pub type Counts = HashMap<ListeningKey, u64>;

/// The kernel's list of them.
pub fn sockets() -> Result<Vec<sockdiag::Listening>, KernelError> {
    sockdiag::listening().map_err(|error| {
        KernelError::new(
            "listing listening sockets (sock_diag)",
            "the kernel needs CONFIG_INET_DIAG",
            error,
        )
    })
}

/// Counts those of the governed cgroups, if not all are governed. A socket elsewhere would show
/// its application the proxy as the client, since getpeername() is not answered there.
pub fn count(
    netns: u64,
    sockets: &[sockdiag::Listening],
    governed: Option<&HashSet<u64>>,
) -> Counts {
    let mut counts = Counts::new();
    for socket in sockets {
        if !governed.is_none_or(|governed| governed.contains(&socket.cgroup)) {
            continue;
        }
        let key = |kind| ListeningKey {
            netns,
            endpoint: socket.at.into(),
            kind,
        };
        *counts.entry(key(LISTENING_ALL)).or_default() += 1;
        if socket.v6_only && socket.at.ip().is_unspecified() {
            *counts.entry(key(LISTENING_V6_ONLY)).or_default() += 1;
        }
    }
    counts
}

/// A count that is not what the kernel's list says. `None` is no entry at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Discrepancy {
    /// Whose.
    pub key: ListeningKey,
    /// What the programs have counted.
    pub counted: Option<u64>,
    /// What the kernel's list says.
    pub truth: Option<u64>,
}

/// Which discrepancies are mended.
#[derive(Debug)]
pub enum Mend<'a> {
    /// All, before any program decides by the counts.
    AtOnce,
    /// Those that two passes in a row saw alike.
    SeenTwice(&'a mut Suspects),
}

/// What the pass before found.
///
/// The kernel's list and the counts are not read in the same moment: an application that begins
/// to listen in between is in the counts alone, and an entry that was taken from it would have
/// its port drop connections until the next pass. What is truly wrong is still so a pass later.
#[derive(Debug, Default)]
pub struct Suspects(HashSet<Discrepancy>);

impl Suspects {
    /// Those of `found` that the pass before found too; the others are remembered. What only user
    /// space counts, and so cannot have changed meanwhile, needs no second look.
    pub fn confirmed(&mut self, found: HashSet<Discrepancy>) -> HashSet<Discrepancy> {
        let (confirmed, suspected) = found.into_iter().partition(|discrepancy| {
            let appeared = discrepancy.key.kind == LISTENING_V6_ONLY && discrepancy.truth.is_some();
            appeared || self.0.contains(discrepancy)
        });
        self.0 = suspected;
        confirmed
    }
}

/// Where `counted` does not agree with `truth`.
pub fn corrections(
    netns: u64,
    counted: &HashMap<ListeningKey, u64>,
    truth: &Counts,
) -> HashSet<Discrepancy> {
    let missing_or_wrong = truth.iter().map(|(key, count)| (*key, Some(*count)));
    let gone = counted
        .keys()
        .filter(|key| key.netns == netns && !truth.contains_key(key))
        .map(|key| (*key, None));
    missing_or_wrong
        .chain(gone)
        .map(|(key, truth)| Discrepancy {
            key,
            counted: counted.get(&key).copied(),
            truth,
        })
        .filter(|discrepancy| discrepancy.counted != discrepancy.truth)
        .collect()
}

#[cfg(test)]
mod tests {
    use sidetrack_abi::Endpoint;

    use super::*;

    fn key(netns: u64, port: u16) -> ListeningKey {
        ListeningKey {
            netns,
            endpoint: Endpoint::new(Default::default(), port),
            kind: LISTENING_ALL,
        }
    }

    fn at(port: u16, counted: Option<u64>, truth: Option<u64>) -> Discrepancy {
        Discrepancy {
            key: key(1, port),
            counted,
            truth,
        }
    }

    #[test]
    fn counts_are_made_to_agree_with_the_kernel() {
        let counted = HashMap::from([
            (key(1, 80), 2),
            (key(1, 81), 1),
            (key(2, 82), 1),
            (key(1, 84), 1),
        ]);
        let truth = Counts::from([(key(1, 80), 3), (key(1, 83), 1), (key(1, 84), 1)]);
        assert_eq!(
            corrections(1, &counted, &truth),
            HashSet::from([
                at(80, Some(2), Some(3)),
                at(81, Some(1), None),
                at(83, None, Some(1))
            ])
        );
    }

    #[test]
    fn a_socket_that_takes_no_ipv4_is_known_at_once_and_forgotten_late() {
        let socket = |v6_only| sockdiag::Listening {
            inode: 0,
            cookie: 0,
            at: "[::]:80".parse().unwrap(),
            v6_only,
            cgroup: 7,
            uid: 0,
        };
        let only = ListeningKey {
            kind: LISTENING_V6_ONLY,
            ..key(1, 80)
        };
        let truth = count(1, &[socket(true), socket(false)], None);
        assert_eq!(truth, Counts::from([(key(1, 80), 2), (only, 1)]));

        let mut suspects = Suspects::default();
        let mut discrepancy = at(80, None, Some(1));
        discrepancy.key = only;
        let appeared = HashSet::from([discrepancy]);
        assert_eq!(suspects.confirmed(appeared.clone()), appeared);
        let gone = HashSet::from([Discrepancy {
            counted: Some(1),
            truth: None,
            ..discrepancy
        }]);
        assert_eq!(suspects.confirmed(gone.clone()), HashSet::new());
        assert_eq!(suspects.confirmed(gone.clone()), gone);
    }

    #[test]
    fn an_application_that_begins_to_listen_during_a_pass_keeps_its_count() {
        let mut suspects = Suspects::default();
        let fresh = HashSet::from([at(80, Some(1), None)]);
        assert_eq!(suspects.confirmed(fresh), HashSet::new());
        // The next pass finds it in the kernel's list too.
        assert_eq!(suspects.confirmed(HashSet::new()), HashSet::new());
    }

    #[test]
    fn what_two_passes_in_a_row_see_alike_is_mended() {
        let mut suspects = Suspects::default();
        let first = HashSet::from([at(80, Some(1), None), at(81, None, Some(1))]);
        assert_eq!(suspects.confirmed(first), HashSet::new());
        // The other is wrong as well, but not in the same way: it is in motion.
        let second = HashSet::from([at(80, Some(1), None), at(81, Some(2), Some(1))]);
        assert_eq!(
            suspects.confirmed(second),
            HashSet::from([at(80, Some(1), None)])
        );
        let third = HashSet::from([at(80, Some(1), None), at(81, Some(2), Some(1))]);
        assert_eq!(
            suspects.confirmed(third),
            HashSet::from([at(81, Some(2), Some(1))]),
            "what was mended begins anew"
        );
    }
}
