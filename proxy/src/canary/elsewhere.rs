//! The canary in other network namespaces.

use serde::Serialize;

use super::{Answer, Way, child::Fates};
use crate::netns::Namespace;

/// Namespaces in which one canary connects: each takes a few threads of its process for a moment.
const AT_ONCE: usize = 64;

/// A namespace beside the daemon's own, and of which families it has listeners of ours.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Which.
    pub namespace: Namespace,
    /// How it was found.
    pub found: String,
    /// Over IPv4.
    pub v4: bool,
    /// Over IPv6.
    pub v6: bool,
}

/// How a canary fared in one of them.
#[derive(Clone, Debug, Serialize)]
pub struct There {
    /// How it was found, as the list of namespaces has it.
    pub namespace: String,
    /// Its cookie.
    pub netns: u64,
    /// Over IPv4; absent if there is no listener of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Way>,
    /// Over IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Way>,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The cookie of the last one that was looked at.
    last: u64,
}

impl Turns {
    /// All of them, or those that were not looked at for the longest time.
    pub(super) fn choose(&mut self, mut all: Vec<Elsewhere>) -> Vec<Elsewhere> {
        all.sort_by_key(|one| one.namespace.cookie());
        let next = all.partition_point(|one| one.namespace.cookie() <= self.last);
        all.rotate_left(next);
        all.truncate(AT_ONCE);
        if let Some(last) = all.last() {
            self.last = last.namespace.cookie();
        }
        all
    }
}

impl There {
    pub(super) fn judge(places: &[Elsewhere], fates: &[Fates], expected: &Answer) -> Vec<Self> {
        let each = places.iter().zip(fates);
        each.map(|(place, fates)| Self {
            namespace: place.found.clone(),
            netns: place.namespace.cookie(),
            ipv4: place.v4.then(|| Way::judge(fates.v4, expected)),
            ipv6: place.v6.then(|| Way::judge(fates.v6, expected)),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_namespaces_than_one_canary_looks_at_each_has_its_turn() {
        let all: Vec<Elsewhere> = (1..=100)
            .map(|cookie| Elsewhere {
                namespace: Namespace::own(cookie).unwrap(),
                found: cookie.to_string(),
                v4: true,
                v6: true,
            })
            .collect();
        let mut turns = Turns::default();
        let mut cookies = |all: &[Elsewhere]| -> Vec<u64> {
            let chosen = turns.choose(all.to_vec());
            chosen.iter().map(|one| one.namespace.cookie()).collect()
        };
        assert_eq!(cookies(&all), (1..=64).collect::<Vec<_>>());
        let second: Vec<u64> = (65..=100).chain(1..=28).collect();
        assert_eq!(cookies(&all), second);
        assert_eq!(cookies(&all[..3]), [1, 2, 3]);
        assert!(cookies(&[]).is_empty());
    }
}
