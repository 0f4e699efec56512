//! What selections ask of a task, and what of that is known.

use std::collections::{BTreeSet, HashMap};

use crate::config::{CgroupPattern, Config, Selector};

/// Selections of tasks: all that rules for connections of this host's applications name.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Their names, ascending: a selection is its place here.
    names: Vec<String>,
    selectors: Vec<Question>,
    /// All cgroups that selectors ask for.
    pub(super) patterns: Vec<CgroupPattern>,
    /// All users that selectors ask for.
    pub(super) users: BTreeSet<u32>,
}

/// One selector.
#[derive(Clone, Debug)]
struct Question {
    selection: usize,
    excludes: bool,
    pattern: Option<usize>,
    uid: Option<u32>,
}

/// Whether something holds of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Truth {
    No,
    /// It is not known.
    Maybe,
    Yes,
}

/// What is known of a task: for each selector, whether all that was looked at so far holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known(Vec<Truth>);

/// The selections that a task is in; as the names of selections stand in [`Asked`].
pub(super) type Selected = BTreeSet<usize>;

/// The selections that a task could be in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Candidates {
    /// It is in these.
    pub(super) certain: Selected,
    /// It is in any number of these.
    pub(super) possible: Selected,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Asked {
    pub(super) fn of(config: &Config) -> Self {
        let ruled = config.outbound.iter();
        let names: BTreeSet<&String> = ruled.filter_map(|rule| rule.select.as_ref()).collect();
        let mut asked = Self::default();
        let mut known = HashMap::new();
        for name in names {
            let Some(select) = config.selects.get(name) else {
                continue;
            };
            let selection = asked.names.len();
            asked.names.push(name.clone());
            let include = select.include.iter().map(|one| (one, false));
            let exclude = select.exclude.iter().map(|one| (one, true));
            for (Selector { cgroup, uid }, excludes) in include.chain(exclude) {
                let pattern = cgroup.as_ref().map(|pattern| {
                    *known.entry(pattern).or_insert_with(|| {
                        asked.patterns.push(pattern.clone());
                        asked.patterns.len() - 1
                    })
                });
                asked.users.extend(uid);
                asked.selectors.push(Question {
                    selection,
                    excludes,
                    pattern,
                    uid: *uid,
                });
            }
        }
        asked
    }

    /// The selection of a name, if a rule names it.
    pub(super) fn selection(&self, name: &str) -> Option<usize> {
        self.names
            .binary_search_by(|one| one.as_str().cmp(name))
            .ok()
    }

    /// All selections.
    pub(super) fn all(&self) -> Selected {
        (0..self.names.len()).collect()
    }

    /// What is known by the cgroup alone: what holds of each pattern.
    pub(super) fn by_cgroup(&self, patterns: &[Truth]) -> Known {
        let holds = |one: &Question| match one.pattern {
            Some(pattern) => patterns.get(pattern).copied().unwrap_or(Truth::Maybe),
            None => Truth::Yes,
        };
        Known(self.selectors.iter().map(holds).collect())
    }

    /// What is known with the user too: one that selectors name, or any other.
    pub(super) fn with_user(&self, known: &Known, uid: Option<u32>) -> Known {
        let each = self.selectors.iter().zip(&known.0);
        let holds = |(one, so_far): (&Question, &Truth)| match one.uid {
            Some(wanted) if uid != Some(wanted) => Truth::No,
            _ => *so_far,
        };
        Known(each.map(holds).collect())
    }

    /// The selections that a task could be in, once nothing else is to be looked at.
    pub(super) fn candidates(&self, known: &Known) -> Candidates {
        let mut of = vec![[Truth::No; 2]; self.names.len()];
        for (one, truth) in self.selectors.iter().zip(&known.0) {
            if let Some(lists) = of.get_mut(one.selection) {
                let [includes, excludes] = lists;
                let list = if one.excludes { excludes } else { includes };
                *list = (*list).max(*truth);
            }
        }
        let mut found = Candidates::default();
        for (selection, truths) in of.into_iter().enumerate() {
            match truths {
                [Truth::No, _] | [_, Truth::Yes] => {}
                [Truth::Yes, Truth::No] => {
                    found.certain.insert(selection);
                }
                _ => {
                    found.possible.insert(selection);
                }
            }
        }
        found
    }

    /// Nothing at all.
    pub(super) fn nothing_known(&self) -> Known {
        Known(vec![Truth::Maybe; self.selectors.len()])
    }
}
