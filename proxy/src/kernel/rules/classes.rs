//! Classes of tasks, made as they are met.
//!
//! What could be met is more than what is: of many patterns any combination could hold. A class is
//! made with all that the kernel needs to know of it, and noted in the order in which the kernel
//! may be told, so that nothing that it knows ever names something that it does not.

use std::{collections::HashMap, sync::Arc};

use sidetrack_abi::rules::{ANY_USER, UserKey};

use super::{
    PortRule,
    asked::{Asked, Candidates, Known},
    chains::Chains,
};

/// Classes of one kind. Beyond it a task has the class of which nothing is known: whoever may make
/// cgroups could otherwise use up memory by names that hold ever new combinations of patterns.
const MOST: usize = 4_096;

/// All classes of one rule set that were met so far. A class is its number.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Where users are named: of what is known by the cgroup, of which each user makes a selection.
    cgroups: HashMap<Known, u32>,
    selections: HashMap<Candidates, u32>,
    users: HashMap<UserKey, u32>,
    rules: HashMap<(u32, u32), Arc<[PortRule]>>,
    made: Vec<Made>,
}

/// Something that the kernel has to be told, before anything that comes after it.
#[derive(Clone, Debug)]
pub enum Made {
    /// Rules of a destination class and a selection class, by port range, ascending.
    Rules {
        /// Destination class.
        destination: u32,
        /// Selection class.
        selection: u32,
        /// The rules.
        ranges: Arc<[PortRule]>,
    },
    /// The selection class of a cgroup class and a user.
    User(UserKey, u32),
}

/// Of what classes are made.
pub(super) struct Source<'a> {
    pub(super) asked: &'a Asked,
    pub(super) chains: &'a Chains,
}

impl Classes {
    /// The class of a cgroup, if it was met before.
    pub(super) fn known(&self, asked: &Asked, known: &Known) -> Option<u32> {
        if asked.users.is_empty() {
            return self.selections.get(&asked.candidates(known)).copied();
        }
        self.cgroups.get(known).copied()
    }

    /// The class of a cgroup.
    pub(super) fn of_cgroup(&mut self, source: &Source<'_>, known: Known) -> u32 {
        let asked = source.asked;
        if asked.users.is_empty() {
            return self.of_selection(source, asked.candidates(&known));
        }
        if let Some(class) = self.cgroups.get(&known) {
            return *class;
        }
        let known = match self.cgroups.len() < MOST {
            true => known,
            false => asked.nothing_known(),
        };
        if let Some(class) = self.cgroups.get(&known) {
            return *class;
        }
        let cgroup_class = self.cgroups.len() as u32;
        for uid in asked.users.iter().copied().map(Some).chain([None]) {
            let candidates = asked.candidates(&asked.with_user(&known, uid));
            let class = self.of_selection(source, candidates);
            let key = UserKey {
                cgroup_class,
                uid: uid.unwrap_or(ANY_USER),
            };
            self.users.insert(key, class);
            self.made.push(Made::User(key, class));
        }
        self.cgroups.insert(known, cgroup_class);
        cgroup_class
    }

    /// The class of tasks that could be in these selections.
    pub(super) fn of_selection(&mut self, source: &Source<'_>, candidates: Candidates) -> u32 {
        if let Some(class) = self.selections.get(&candidates) {
            return *class;
        }
        let candidates = match self.selections.len() < MOST {
            true => candidates,
            false => source.asked.candidates(&source.asked.nothing_known()),
        };
        if let Some(class) = self.selections.get(&candidates) {
            return *class;
        }
        let selection = self.selections.len() as u32;
        for (destination, ranges) in source.chains.rules(&candidates) {
            let ranges: Arc<[PortRule]> = ranges.into();
            self.rules
                .insert((destination, selection), Arc::clone(&ranges));
            self.made.push(Made::Rules {
                destination,
                selection,
                ranges,
            });
        }
        self.selections.insert(candidates, selection);
        selection
    }

    /// The selection class of a user in a cgroup of a class.
    pub(super) fn of_user(&self, cgroup_class: u32, uid: u32) -> Option<u32> {
        let of = |uid| self.users.get(&UserKey { cgroup_class, uid }).copied();
        of(uid).or_else(|| of(ANY_USER))
    }

    /// The rules of a destination class and a selection class.
    pub(super) fn rules(&self, destination: u32, selection: u32) -> &[PortRule] {
        self.rules
            .get(&(destination, selection))
            .map_or(&[], |ranges| ranges)
    }

    /// What was made since there were `before` of it.
    pub(super) fn made_since(&self, before: usize) -> &[Made] {
        self.made.get(before..).unwrap_or_default()
    }
}
