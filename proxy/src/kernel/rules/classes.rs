//! Classes of tasks, made as they are met.
//!
//! What could be met is more than what is: of many patterns any combination could hold. A class is
//! made with all that the kernel needs to know of it, and noted in the order in which the kernel
//! may be told, so that nothing that it knows ever names something that it does not.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sidetrack_abi::rules::{ANY_VALUE, SELECTION_ALL, StageKey};

use super::{
    PortRule,
    asked::{Asked, Candidates, Kind, Known, Selected},
    chains::Chains,
    netns::{Names, Namespaces},
};

/// Classes of one kind. Beyond it a task has the class of which nothing is known: whoever may make
/// cgroups could otherwise use up memory by names that hold ever new combinations of patterns.
const MOST: usize = 4_096;

/// All classes of one rule set that were met so far. A class is its number.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Of what is known before each stage.
    before: Vec<HashMap<Known, u32>>,
    /// Of what is known in the end.
    selections: HashMap<Candidates, u32>,
    stages: HashMap<StageKey, u32>,
    rules: HashMap<(u32, u32), Arc<[PortRule]>>,
    pub(super) namespaces: Namespaces,
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
    /// The class of a task after a stage.
    Stage(StageKey, u32),
}

impl Made {
    /// Whether both are rules of one selection class: those are made one after another.
    pub fn is_of_one_class(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Rules { selection, .. }, Self::Rules { selection: of, .. }) => selection == of,
            _ => false,
        }
    }
}

/// Of what classes are made.
pub(super) struct Source<'a> {
    pub(super) asked: &'a Asked,
    pub(super) chains: &'a Chains,
}

impl Classes {
    /// The class of what is known by the cgroup, if it was met before.
    pub(super) fn met(&self, asked: &Asked, known: &Known) -> Option<u32> {
        match self.before.first() {
            Some(first) => first.get(known).copied(),
            None => self.selections.get(&asked.candidates(known)).copied(),
        }
    }

    /// The class of what is known by the cgroup.
    pub(super) fn of_cgroup(&mut self, source: &Source<'_>, known: Known) -> u32 {
        self.before
            .resize_with(source.asked.stages.len(), HashMap::new);
        self.after(source, 0, known)
    }

    /// The class of what is known after the first `done` stages.
    fn after(&mut self, source: &Source<'_>, done: usize, known: Known) -> u32 {
        let asked = source.asked;
        let (Some(stage), Some(met)) = (asked.stages.get(done), self.before.get_mut(done)) else {
            return self.of_selection(source, asked.candidates(&known));
        };
        let known = match met.contains_key(&known) || met.len() < MOST {
            true => known,
            false => asked.nothing_known(),
        };
        if let Some(class) = met.get(&known) {
            return *class;
        }
        let class = met.len() as u32;
        met.insert(known.clone(), class);
        let any = match stage.kind {
            Kind::Netns => asked.with_netns(&known, None),
            kind => asked.with(&known, kind, None),
        };
        let any = self.after(source, done + 1, any);
        self.insert(class, stage.kind, ANY_VALUE, any);
        let values: Vec<(u64, Known)> = match stage.kind {
            Kind::Netns => {
                let numbered = self.namespaces.numbered();
                let with = |names| asked.with_netns(&known, Some(names));
                let each = numbered.map(|(number, names)| (u64::from(number), with(names)));
                each.collect()
            }
            kind => {
                let with = |value| (value, asked.with(&known, kind, Some(value)));
                stage.values.iter().copied().map(with).collect()
            }
        };
        for (value, next) in values {
            let next = self.after(source, done + 1, next);
            if next != any {
                self.insert(class, stage.kind, value, next);
            }
        }
        class
    }

    /// Numbers what namespaces are called, and makes what follows from that of each class that was
    /// met: from here on these namespaces are known, and no others.
    pub(super) fn know_namespaces(&mut self, source: &Source<'_>, all: &BTreeMap<u64, Names>) {
        let mut stages = source.asked.stages.iter();
        let Some(done) = stages.position(|stage| stage.kind == Kind::Netns) else {
            return;
        };
        for number in self.namespaces.number(all) {
            let Some(names) = self.namespaces.names(number).cloned() else {
                continue;
            };
            let met: Vec<(Known, u32)> = self
                .before
                .get(done)
                .into_iter()
                .flatten()
                .map(|(known, class)| (known.clone(), *class))
                .collect();
            for (known, class) in met {
                let next = source.asked.with_netns(&known, Some(&names));
                let next = self.after(source, done + 1, next);
                self.insert(class, Kind::Netns, u64::from(number), next);
            }
        }
        self.namespaces.know(all);
    }

    fn insert(&mut self, class: u32, kind: Kind, value: u64, next: u32) {
        let key = StageKey {
            class,
            kind: kind.number(),
            value,
        };
        self.stages.insert(key, next);
        self.made.push(Made::Stage(key, next));
    }

    /// The class of tasks that could be in these selections.
    pub(super) fn of_selection(&mut self, source: &Source<'_>, candidates: Candidates) -> u32 {
        let known = self.selections.contains_key(&candidates) || self.selections.len() < MOST;
        let candidates = match known {
            true => candidates,
            false => source.asked.candidates(&source.asked.nothing_known()),
        };
        if let Some(class) = self.selections.get(&candidates) {
            return *class;
        }
        let selection = self.selections.len() as u32;
        self.make(source, selection, &candidates);
        self.selections.insert(candidates, selection);
        selection
    }

    /// The class of everybody, where a command's own cgroup is all that is governed: in all
    /// selections.
    pub(super) fn of_all(&mut self, source: &Source<'_>) {
        let candidates = Candidates {
            certain: source.asked.all(),
            possible: Selected::new(),
        };
        self.make(source, SELECTION_ALL, &candidates);
    }

    fn make(&mut self, source: &Source<'_>, selection: u32, candidates: &Candidates) {
        for (destination, ranges) in source.chains.rules(candidates) {
            let ranges: Arc<[PortRule]> = ranges.into();
            self.rules
                .insert((destination, selection), Arc::clone(&ranges));
            self.made.push(Made::Rules {
                destination,
                selection,
                ranges,
            });
        }
    }

    /// The class after a stage, as the programs find it.
    pub(super) fn staged(&self, class: u32, kind: Kind, value: u64) -> Option<u32> {
        let kind = kind.number();
        let of = |value| self.stages.get(&StageKey { class, kind, value }).copied();
        of(value).or_else(|| of(ANY_VALUE))
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
