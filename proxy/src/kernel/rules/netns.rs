//! Network namespaces, as far as selections tell them apart.
//!
//! What an entry like a path names changes while the rules do not. So a namespace is known by its
//! cookie, to which a number belongs: that of the entries that name it now. One that nobody has
//! looked at has none. It is not taken for another one, since a path may be about to name it: whoever
//! makes a namespace mounts it after.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::config::NetnsSelector;

/// Different sets of names that are told apart, that of no name among them. Each costs entries of the
/// kernel's tables for each class of cgroups; a namespace with one beyond them stays unknown.
pub const MOST_DIFFERENT: usize = 64;

/// The entries of selectors that name a namespace; none of them is any other namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names(BTreeSet<usize>);

impl Names {
    /// Of these entries, each noted in `all` once.
    pub(super) fn of(entries: &[NetnsSelector], all: &mut Vec<NetnsSelector>) -> Self {
        let mut place = |entry: &NetnsSelector| {
            let known = all.iter().position(|one| one == entry);
            known.unwrap_or_else(|| {
                all.push(entry.clone());
                all.len() - 1
            })
        };
        Self(entries.iter().map(&mut place).collect())
    }

    /// One more: the place of an entry among those of [`super::RuleTables::netns_asked`].
    pub fn add(&mut self, entry: usize) {
        self.0.insert(entry);
    }

    pub(super) fn has(&self, entry: usize) -> bool {
        self.0.contains(&entry)
    }

    pub(super) fn have_any_of(&self, others: &Self) -> bool {
        !self.0.is_disjoint(&others.0)
    }
}

/// What is known of namespaces.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// A number is its place here.
    met: Vec<Names>,
    known: HashMap<u64, u32>,
    /// How many have names without a number.
    unnumbered: usize,
}

impl Namespaces {
    /// All sets of names that have a number.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, &Names)> {
        (0..).zip(&self.met)
    }

    /// The numbers of those of `names` that have none yet, as far as there is room. No name at all comes
    /// first: most namespaces have none, and there is always room for that.
    pub(super) fn number(&mut self, names: &BTreeMap<u64, Names>) -> Vec<u32> {
        let before = self.met.len();
        let nameless = Names::default();
        for one in std::iter::once(&nameless).chain(names.values()) {
            if self.met.len() < MOST_DIFFERENT && !self.met.contains(one) {
                self.met.push(one.clone());
            }
        }
        (before..self.met.len()).map(|one| one as u32).collect()
    }

    /// From here on these are known, and no others.
    pub(super) fn know(&mut self, names: &BTreeMap<u64, Names>) {
        let number = |names: &Names| self.met.iter().position(|one| one == names);
        let each = names.iter();
        self.known = each
            .filter_map(|(cookie, names)| Some((*cookie, number(names)? as u32)))
            .collect();
        self.unnumbered = names.len() - self.known.len();
    }

    /// The number of a namespace, by its cookie.
    pub(super) fn of(&self, cookie: u64) -> Option<u32> {
        self.known.get(&cookie).copied()
    }

    pub(super) fn names(&self, number: u32) -> Option<&Names> {
        self.met.get(number as usize)
    }

    pub(super) fn unnumbered(&self) -> usize {
        self.unnumbered
    }

    pub(super) fn known(&self) -> &HashMap<u64, u32> {
        &self.known
    }
}
