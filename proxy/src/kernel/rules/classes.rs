//! Cgroups and users, as classes of the selections that a task is in.
//!
//! A *place* is a cgroup that a selection names, or everywhere else. Folders above places are where
//! a place can appear: in those, a cgroup that nobody has looked at yet could be any of the places
//! below them, and has a class of its own that stands for all of these.

use std::collections::{BTreeMap, BTreeSet};

use sidetrack_abi::{
    rules::{ANY_USER, CgroupClass, SELECTION_NONE, UserKey},
    settings::{SETTING_CGROUPS, SETTING_USERS},
};

use super::RuleTables;
use crate::config::{Config, Select, Selector};

/// The selections that a task is in.
pub(super) type Selected = BTreeSet<String>;

/// What a selection class stands for: one, or all that a task could turn out to be in.
pub(super) type Candidates = BTreeSet<Selected>;

/// Where a task is: in a cgroup that is named, or in none.
type Place<'a> = Option<&'a str>;

/// Fills the tables of cgroups and users and gives the selection classes that can occur.
pub(super) fn selections(config: &Config, tables: &mut RuleTables) -> BTreeMap<Candidates, u32> {
    let selectors = || {
        config
            .selects
            .values()
            .flat_map(|select| select.include.iter().chain(&select.exclude))
    };
    let paths: BTreeSet<&str> = selectors().filter_map(|s| s.cgroup.as_deref()).collect();
    let users: BTreeSet<u32> = selectors().filter_map(|s| s.uid).collect();
    if !paths.is_empty() {
        tables.flags |= SETTING_CGROUPS;
    }
    if !users.is_empty() {
        tables.flags |= SETTING_USERS;
    }
    let mut classes = Classes {
        config,
        paths: &paths,
        users: &users,
        selections: BTreeMap::from([(Candidates::from([Selected::new()]), SELECTION_NONE)]),
        cgroups: BTreeMap::new(),
        keys: &mut tables.users,
    };
    // The programs begin with this one, which is 0.
    classes.of_cgroup(BTreeSet::from([None]));
    // Above it nothing is intercepted.
    let top = config.intercept.cgroup.as_str();
    let named = paths.iter().copied().filter(|path| is_below(path, top));
    let folders: BTreeSet<&str> = named
        .flat_map(|path| ancestors(path).take_while(|above| is_below(above, top)))
        .chain((!paths.is_empty()).then_some(top))
        .collect();
    for folder in folders {
        let place = ancestors(folder).find(|above| paths.contains(above));
        let within = paths.iter().copied();
        let below = within.filter(|path| *path != folder && is_below(path, folder));
        let could_be = below.map(Some).chain([place]).collect();
        let class = CgroupClass {
            own: classes.of_cgroup(BTreeSet::from([place])),
            below: classes.of_cgroup(could_be),
        };
        tables.cgroups.insert(folder.to_owned(), class);
    }
    classes.selections
}

struct Classes<'a> {
    config: &'a Config,
    paths: &'a BTreeSet<&'a str>,
    users: &'a BTreeSet<u32>,
    selections: BTreeMap<Candidates, u32>,
    /// Where users are named: classes of cgroups, of which each user makes a selection class.
    cgroups: BTreeMap<BTreeSet<Place<'a>>, u32>,
    keys: &'a mut std::collections::HashMap<UserKey, u32>,
}

impl<'a> Classes<'a> {
    /// The class of a cgroup that could be any of `places`.
    fn of_cgroup(&mut self, places: BTreeSet<Place<'a>>) -> u32 {
        if self.users.is_empty() {
            return self.of_selection(&places, None);
        }
        if let Some(class) = self.cgroups.get(&places) {
            return *class;
        }
        let cgroup_class = self.cgroups.len() as u32;
        for uid in self.users.iter().copied().map(Some).chain([None]) {
            let key = UserKey {
                cgroup_class,
                uid: uid.unwrap_or(ANY_USER),
            };
            let class = self.of_selection(&places, uid);
            self.keys.insert(key, class);
        }
        self.cgroups.insert(places, cgroup_class);
        cgroup_class
    }

    fn of_selection(&mut self, places: &BTreeSet<Place<'_>>, uid: Option<u32>) -> u32 {
        let candidates = places.iter().map(|place| self.selected(*place, uid));
        let candidates: Candidates = candidates.collect();
        let next = self.selections.len() as u32;
        *self.selections.entry(candidates).or_insert(next)
    }

    fn selected(&self, place: Place<'_>, uid: Option<u32>) -> Selected {
        let within = |path: &str| {
            self.paths.contains(path) && place.is_some_and(|place| is_below(place, path))
        };
        self.config
            .selects
            .iter()
            .filter(|(_, select)| selects(select, within, uid))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// Whether a selection holds for a user in a place that is `within` some of the cgroups named.
pub(super) fn selects(select: &Select, within: impl Fn(&str) -> bool, uid: Option<u32>) -> bool {
    let matches = |selector: &Selector| {
        selector.cgroup.as_deref().is_none_or(&within)
            && selector.uid.is_none_or(|wanted| uid == Some(wanted))
    };
    select.include.iter().any(matches) && !select.exclude.iter().any(matches)
}

/// Whether `path` is `ancestor` or below it.
pub(super) fn is_below(path: &str, ancestor: &str) -> bool {
    let ancestor = ancestor.trim_end_matches('/');
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The folder that a cgroup is in; `None` for the root.
pub(super) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        (_, "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

/// A cgroup and those above it, up to the root.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| parent(path))
}
