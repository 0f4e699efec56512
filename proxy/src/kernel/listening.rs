//! Which applications listen, as sk_lookup needs it.
//!
//! The programs count sockets as they begin and cease to listen. Those that did so before the
//! programs were attached, and what two CPUs did to one count in the same moment, are mended
//! from the kernel's own list.

use std::collections::{HashMap, HashSet};

use sidetrack_abi::{Endpoint, inbound::ListeningKey};

use super::{KernelError, sockdiag};

/// Listening sockets by where they listen.
pub type Counts = HashMap<Endpoint, u64>;

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
/// its application a remote client as a local one, since getpeername() is not answered there.
pub fn count(sockets: &[sockdiag::Listening], governed: Option<&HashSet<u64>>) -> Counts {
    let mut counts = Counts::new();
    for socket in sockets {
        if governed.is_none_or(|governed| governed.contains(&socket.cgroup)) {
            *counts.entry(socket.at.into()).or_default() += 1;
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
    /// Those of `found` that the pass before found too; the others are remembered.
    pub fn confirmed(&mut self, found: HashSet<Discrepancy>) -> HashSet<Discrepancy> {
        let (confirmed, suspected) = found
            .into_iter()
            .partition(|discrepancy| self.0.contains(discrepancy));
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
    let missing_or_wrong = truth.iter().map(|(endpoint, count)| {
        let key = ListeningKey {
            netns,
            endpoint: *endpoint,
            zero: 0,
        };
        (key, Some(*count))
    });
    let gone = counted
        .keys()
        .filter(|key| key.netns == netns && !truth.contains_key(&key.endpoint))
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
    use super::*;

    fn key(netns: u64, port: u16) -> ListeningKey {
        ListeningKey {
            netns,
            endpoint: Endpoint::new(Default::default(), port),
            zero: 0,
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
        let truth = Counts::from([
            (key(1, 80).endpoint, 3),
            (key(1, 83).endpoint, 1),
            (key(1, 84).endpoint, 1),
        ]);
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
