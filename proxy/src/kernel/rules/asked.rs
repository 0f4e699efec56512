//! What selections ask of a task, and what of that is known.

use std::collections::{BTreeSet, HashMap};

use sidetrack_abi::{
    rules::{STAGE_EXECUTABLE, STAGE_GROUP, STAGE_NETNS, STAGE_USER},
    settings::{SETTING_EXECUTABLES, SETTING_GROUPS, SETTING_NETNS, SETTING_USERS},
};

use super::{executables::Executables, netns::Names};
use crate::config::{CgroupPattern, Config, Executable, NetnsSelector, Selector, cgroup::Selects};

/// Selections of tasks: all that rules for connections of this host's applications name.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Their names, ascending: a selection is its place here.
    names: Vec<String>,
    selectors: Vec<Question>,
    /// All cgroups that selectors ask for.
    pub(super) patterns: Vec<CgroupPattern>,
    /// All network namespaces that they ask for: [`Names`] are places here.
    pub(super) netns: Vec<NetnsSelector>,
    /// What they ask for beside cgroups, in the order in which it is looked at.
    pub(super) stages: Vec<Stage>,
    /// The executables among that.
    pub(super) executables: Executables,
}

/// One look at a task.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) kind: Kind,
    /// All values that selectors ask for. Those of network namespaces are numbered as they are met.
    pub(super) values: BTreeSet<u64>,
}

/// What can be looked at, beside the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    User,
    Group,
    Executable,
    Netns,
}

/// The selections of a task, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selections {
    /// It is in these.
    pub certain: Vec<String>,
    /// It could be in these: its cgroup is a container whose name is not known, or nobody has
    /// looked at its network namespace yet.
    pub possible: Vec<String>,
    /// An exclusion keeps it from these.
    pub excluded: Vec<String>,
}

/// One selector.
#[derive(Clone, Debug)]
struct Question {
    selection: usize,
    excludes: bool,
    pattern: Option<usize>,
    /// Of each kind one of these values.
    wants: Vec<(Kind, Vec<u64>)>,
    netns: Option<Names>,
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

impl From<Selects> for Truth {
    fn from(selects: Selects) -> Self {
        match selects {
            Selects::Yes => Self::Yes,
            Selects::No => Self::No,
            Selects::Perhaps => Self::Maybe,
        }
    }
}

impl Kind {
    const ALL: [Self; 4] = [Self::User, Self::Group, Self::Executable, Self::Netns];

    /// As the programs know it: `STAGE_*`.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::User => STAGE_USER,
            Self::Group => STAGE_GROUP,
            Self::Executable => STAGE_EXECUTABLE,
            Self::Netns => STAGE_NETNS,
        }
    }

    /// `SETTING_*` that has the programs look at it.
    pub(super) fn setting(self) -> u32 {
        match self {
            Self::User => SETTING_USERS,
            Self::Group => SETTING_GROUPS,
            Self::Executable => SETTING_EXECUTABLES,
            Self::Netns => SETTING_NETNS,
        }
    }

    /// Any of these values; `None` if it does not matter.
    fn wanted(self, selector: &Selector, executables: &Executables) -> Option<Vec<u64>> {
        let id = |id: Option<u32>| Some(vec![u64::from(id?)]);
        match self {
            Self::User => id(selector.uid),
            Self::Group => id(selector.gid),
            Self::Executable => {
                let paths = selector.executable.as_ref()?.paths();
                let numbers = paths.filter_map(|path| executables.named(path));
                Some(numbers.map(u64::from).collect())
            }
            Self::Netns => None,
        }
    }
}

impl Asked {
    pub(super) fn of(config: &Config) -> Self {
        let ruled = config.outbound.iter();
        let names: BTreeSet<&String> = ruled.filter_map(|rule| rule.select.as_ref()).collect();
        let mut asked = Self::default();
        let selects = names.iter().filter_map(|name| config.selects.get(*name));
        let selectors = selects.flat_map(|select| select.include.iter().chain(&select.exclude));
        let paths = selectors
            .filter_map(|selector| selector.executable.as_ref())
            .flat_map(Executable::paths);
        asked.executables = Executables::new(paths.map(str::to_owned).collect());
        let mut known = HashMap::new();
        for name in names {
            let Some(select) = config.selects.get(name) else {
                continue;
            };
            let selection = asked.names.len();
            asked.names.push(name.clone());
            let include = select.include.iter().map(|one| (one, false));
            let exclude = select.exclude.iter().map(|one| (one, true));
            for (selector, excludes) in include.chain(exclude) {
                let pattern = selector.cgroup.as_ref().map(|pattern| {
                    *known.entry(pattern).or_insert_with(|| {
                        asked.patterns.push(pattern.clone());
                        asked.patterns.len() - 1
                    })
                });
                let netns = Names::of(&selector.netns, &mut asked.netns);
                let wants = Kind::ALL.into_iter();
                let wants = wants
                    .filter_map(|kind| Some((kind, kind.wanted(selector, &asked.executables)?)));
                asked.selectors.push(Question {
                    selection,
                    excludes,
                    pattern,
                    wants: wants.collect(),
                    netns: (!selector.netns.is_empty()).then_some(netns),
                });
            }
        }
        for kind in Kind::ALL {
            let wants = asked.selectors.iter().flat_map(|one| &one.wants);
            let values = wants.filter(|(wanted, _)| *wanted == kind);
            let values: BTreeSet<u64> = values.flat_map(|(_, any)| any).copied().collect();
            if !values.is_empty() || (kind == Kind::Netns && !asked.netns.is_empty()) {
                asked.stages.push(Stage { kind, values });
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

    /// What is known after a look: a value that selectors ask for, or any other.
    pub(super) fn with(&self, known: &Known, kind: Kind, value: Option<u64>) -> Known {
        let each = self.selectors.iter().zip(&known.0);
        let holds = |(one, so_far): (&Question, &Truth)| {
            let mut wants = one.wants.iter();
            let is_one = |any: &[u64]| value.is_some_and(|value| any.contains(&value));
            match wants.any(|(wanted, any)| *wanted == kind && !is_one(any)) {
                true => Truth::No,
                false => *so_far,
            }
        };
        Known(each.map(holds).collect())
    }

    /// What is known after a look at its network namespace: what selectors call that, or none if
    /// nobody has looked at it yet.
    pub(super) fn with_netns(&self, known: &Known, names: Option<&Names>) -> Known {
        let each = self.selectors.iter().zip(&known.0);
        let holds = |(one, so_far): (&Question, &Truth)| match (&one.netns, names) {
            (None, _) => *so_far,
            (Some(_), None) => (*so_far).min(Truth::Maybe),
            (Some(wanted), Some(names)) if wanted.have_any_of(names) => *so_far,
            (Some(_), Some(_)) => Truth::No,
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

    /// The same by name, with those that an exclusion keeps it from.
    pub(super) fn named(&self, known: &Known) -> Selections {
        let Candidates { certain, possible } = self.candidates(known);
        let excludes = self.selectors.iter().zip(&known.0);
        let excludes = excludes.filter(|(one, truth)| one.excludes && **truth == Truth::Yes);
        let excluded: Selected = excludes.map(|(one, _)| one.selection).collect();
        let names = |selected: Selected| {
            let names = selected.into_iter().filter_map(|one| self.names.get(one));
            names.cloned().collect()
        };
        Selections {
            certain: names(certain),
            possible: names(possible),
            excluded: names(excluded),
        }
    }

    /// Nothing at all.
    pub(super) fn nothing_known(&self) -> Known {
        Known(vec![Truth::Maybe; self.selectors.len()])
    }
}
