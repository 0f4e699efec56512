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

/// What has to change so that `counted` agrees with `truth`.
pub fn corrections(
    netns: u64,
    counted: &HashMap<ListeningKey, u64>,
    truth: &Counts,
) -> Vec<(ListeningKey, Option<u64>)> {
    let mut changes = Vec::new();
    for (endpoint, count) in truth {
        let key = ListeningKey {
            netns,
            endpoint: *endpoint,
            zero: 0,
        };
        if counted.get(&key) != Some(count) {
            changes.push((key, Some(*count)));
        }
    }
    for key in counted.keys() {
        if key.netns == netns && !truth.contains_key(&key.endpoint) {
            changes.push((*key, None));
        }
    }
    changes
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

    #[test]
    fn counts_are_made_to_agree_with_the_kernel() {
        let counted = HashMap::from([(key(1, 80), 2), (key(1, 81), 1), (key(2, 82), 1)]);
        let truth = Counts::from([(key(1, 80).endpoint, 3), (key(1, 83).endpoint, 1)]);
        let mut changes = corrections(1, &counted, &truth);
        changes.sort_by_key(|(key, _)| key.endpoint.port());
        assert_eq!(
            changes,
            [
                (key(1, 80), Some(3)),
                (key(1, 81), None),
                (key(1, 83), Some(1))
            ]
        );
    }
}
