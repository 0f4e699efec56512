//! Two sets of entries, compared.

use std::{collections::HashMap, fmt, hash::Hash};

/// How what was found differs from what was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Differing<K, V> {
    /// How many entries were meant.
    of: usize,
    missing: usize,
    changed: usize,
    foreign: usize,
    /// One of them, with the value that was meant or, of one that was not, the value that is there.
    pub(super) one: (K, V),
}

/// `None` if they are the same.
pub(super) fn differing<K: Eq + Hash + Copy, V: PartialEq + Copy>(
    meant: impl Iterator<Item = (K, V)>,
    found: impl Iterator<Item = (K, V)>,
) -> Option<Differing<K, V>> {
    let mut meant: HashMap<K, V> = meant.collect();
    let of = meant.len();
    let (mut changed, mut foreign, mut one) = (0, 0, None);
    for (key, value) in found {
        match meant.remove(&key) {
            Some(same) if same == value => {}
            Some(other) => {
                changed += 1;
                one.get_or_insert((key, other));
            }
            None => {
                foreign += 1;
                one.get_or_insert((key, value));
            }
        }
    }
    let missing = meant.len();
    let one = one.or_else(|| meant.into_iter().next())?;
    Some(Differing {
        of,
        missing,
        changed,
        foreign,
        one,
    })
}

impl<K, V> fmt::Display for Differing<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            missing,
            changed,
            foreign,
            ..
        } = self;
        write!(
            f,
            "of {of} entries {missing} are missing and {changed} changed, and {foreign} were added"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_changed_or_added_is_counted_and_one_of_it_named() {
        let of =
            |found: &[(u32, u32)]| differing([(1, 10), (2, 20)].into_iter(), found.iter().copied());
        assert_eq!(of(&[(2, 20), (1, 10)]), None);
        let missing = of(&[(2, 20)]).unwrap();
        assert_eq!((missing.missing, missing.one), (1, (1, 10)));
        let changed = of(&[(2, 21), (1, 10)]).unwrap();
        assert_eq!((changed.changed, changed.one), (1, (2, 20)));
        let foreign = of(&[(2, 20), (1, 10), (3, 30)]).unwrap();
        assert_eq!((foreign.foreign, foreign.one), (1, (3, 30)));
        let all = of(&[(1, 11), (3, 30)]).unwrap();
        assert_eq!(
            all.to_string(),
            "of 2 entries 1 are missing and 1 changed, and 1 were added"
        );
    }
}
