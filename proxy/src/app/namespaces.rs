//! Network namespaces beside the daemon's own: they get listeners when they are found or somebody
//! connects there, and lose them when nobody uses them any more.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::heartbeat::Heartbeat;
use crate::{
    config::NetnsSource,
    data::DataPath,
    inbound::owners::ids_below,
    kernel::{Redirector, hop::HopRoutes, rules::RuleTables},
    netns::{
        Id, Namespace, NamespaceError, Remains,
        source::{Source, of_other_thread},
        users::{self, Witness},
    },
};

mod asked;
mod follow;
mod judged;
mod known;
mod missed;
mod places;
mod proof;
mod receiving;
mod report;
mod serving;

pub(super) use follow::{spawn, wants_any};
use judged::Judged;
use known::Known;
use missed::Missed;
pub(super) use proof::Served;
pub use report::NamespaceReport;

/// Those that get listeners: whoever may make namespaces is not to fill the registry.
const MOST: usize = sidetrack_abi::names::NAMESPACE_ENTRIES;

/// Those of them that nobody named, and that have them because somebody connected there: the places of
/// the others are not for whoever may make namespaces.
const MOST_SELECTED: usize = MOST / 4 * 3;

/// Under this name `status` says that there are more.
const MORE: &str = "more namespaces";

/// A search for users of namespaces is over for this many times as long as it took, at least.
const REST: u32 = 9;

/// What serving a namespace takes.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) data: &'a Arc<DataPath>,
    pub(super) redirector: &'a Redirector,
    pub(super) heartbeat: &'a Heartbeat,
    pub(super) hop: Option<&'a HopRoutes>,
    /// The attach point, and the cgroup2 root.
    pub(super) places: (&'a Path, &'a Path),
    /// Whether inbound rules hold in other namespaces.
    pub(super) receives: bool,
}

impl Means<'_> {
    /// The cgroups below the attach point; `None` where that is all.
    fn governed(&self) -> Option<HashSet<u64>> {
        let (governed, mount) = self.places;
        (governed != mount).then(|| ids_below(governed))
    }
}

/// All that are known.
pub(super) struct Namespaces {
    mount: PathBuf,
    selected: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sources: Vec<Source>,
    known: HashMap<u64, Known>,
    /// Those of them that have listeners only because somebody connected there.
    selected: HashSet<u64>,
    judged: Judged,
    missed: Missed,
    /// When users may be searched for again.
    rested: Option<Instant>,
    /// Entries of the configuration for which there is no namespace, and why.
    absent: BTreeMap<String, String>,
    /// Namespaces that nobody uses any more, and when what is left of them is cut off.
    ended: Vec<(Remains, Instant)>,
}

impl Namespaces {
    /// Those that `sources` name, none of which has been looked for yet.
    pub(super) fn new(sources: &[NetnsSource], mount: PathBuf) -> Self {
        Self {
            mount,
            selected: sources.contains(&NetnsSource::Selected),
            state: Mutex::new(State {
                sources: sources.iter().cloned().map(Source::new).collect(),
                ..State::default()
            }),
        }
    }

    /// Serves what is there at the start: what is named, and what a daemon before this one served,
    /// whose first connections would fail otherwise.
    pub(super) fn begin(&self, means: Means<'_>, before: &HashSet<u64>) {
        self.look_at_sources(means);
        if !self.selected || before.is_empty() {
            return;
        }
        let own = &means.data.namespace;
        for (namespace, witness) in self.search(own, |cookie| before.contains(&cookie)) {
            let found = format!("selected, at {}", witness.path().display());
            let mut state = self.state.lock();
            state.add_selected(means, namespace, found, witness);
        }
    }

    /// What selections of `tables` name, and which others there are, before these are active.
    pub(super) fn prepare(&self, own: &Namespace, tables: &RuleTables) {
        if tables.netns_asked().is_empty() {
            return;
        }
        let others = self.search(own, |_| true);
        let State { judged, known, .. } = &mut *self.state.lock();
        for (namespace, witness) in others {
            judged.add(&namespace, witness, None);
        }
        judged.prepare(own, tables, known.keys().copied());
    }

    /// Follows what selections name.
    pub(super) fn look_at_names(&self, means: Means<'_>) {
        self.state.lock().judge(means);
    }

    /// Serves what is named and is there.
    pub(super) fn look_at_sources(&self, means: Means<'_>) {
        let mut state = self.state.lock();
        let mut sources = std::mem::take(&mut state.sources);
        for source in &mut sources {
            let name = source.entry().to_string();
            let outcome = match source.look(&self.mount) {
                Ok(paths) => paths
                    .into_iter()
                    .filter_map(|path| state.find(means, path, &name).err())
                    .map(|error| error.to_string())
                    .last(),
                Err(error) => Some(error.to_string()),
            };
            state.absent.remove(&name);
            if let Some(why) = outcome {
                state.absent.insert(name, why);
            }
        }
        state.sources = sources;
    }

    /// Tries those again that could not be served or found, if it is time. When the next one is due.
    pub(super) fn try_again(&self, means: Means<'_>) -> Option<Instant> {
        let searched = self.search_missed(means);
        let mut state = self.state.lock();
        let known = state.known.values_mut();
        known
            .filter_map(|known| known.try_again(means))
            .chain(searched)
            .min()
    }

    /// Takes the listeners out of those that nobody uses any more, and looks at the addresses and
    /// routes of the others if they have changed.
    pub(super) fn look_at_users(&self, means: Means<'_>) {
        // Reading all cgroups once is enough.
        let governed = means.receives.then(|| means.governed());
        let (lonely, used) = self.users();
        let cut_at = Instant::now() + means.data.policy.load().config.daemon.drain;
        let mut gone = Vec::new();
        let state = &mut *self.state.lock();
        state.known.retain(|_, known| {
            if !lonely.contains(&known.id()) {
                known.look_at_facts(means);
                if let Some(governed) = &governed {
                    known.look_at_listeners(means, governed.as_ref());
                }
                return true;
            }
            match used.get(&known.id()) {
                Some(witness) => known.seen(witness),
                None => gone.push(known.end(means)),
            }
            used.contains_key(&known.id())
        });
        state.selected.retain(|one| state.known.contains_key(one));
        state.judged.retain(&lonely, &used);
        state
            .ended
            .extend(gone.into_iter().map(|gone| (gone, cut_at)));
        state.ended.retain(|(remains, cut_at)| {
            if Instant::now() >= *cut_at {
                remains.cut();
            }
            !remains.are_gone()
        });
    }

    /// Those of which the one is gone who was seen to use them, and who else does. The state is free
    /// during the search; none are told of before the next may begin.
    fn users(&self) -> (HashSet<Id>, HashMap<Id, Witness>) {
        let state = self.state.lock();
        let known = state.known.values().filter(|known| !known.is_used());
        let lonely: HashSet<Id> = known.map(Known::id).chain(state.judged.lonely()).collect();
        let begun = Instant::now();
        if lonely.is_empty() || state.rested.is_some_and(|rested| begun < rested) {
            return Default::default();
        }
        drop(state);
        let used = users::of(&lonely);
        self.state.lock().rested = Some(Instant::now() + begun.elapsed() * REST);
        (lonely, used)
    }

    /// Ends all accept loops; those that the caller waits for.
    pub(super) fn stop(&self, heartbeat: &Heartbeat) -> Vec<JoinSet<()>> {
        let mut state = self.state.lock();
        let known = state.known.values_mut();
        known.filter_map(|known| known.stop(heartbeat)).collect()
    }
}

impl State {
    /// Who connected can be told, and the namespace not be used.
    fn forbidden(&mut self, error: &NamespaceError) {
        let why = error.to_string();
        let told = self.absent.insert(NetnsSource::Selected.to_string(), why);
        if told.is_none() {
            tracing::warn!(%error, "serving a network namespace in which somebody connected");
        }
    }

    /// Follows what selections name, and which other namespaces there are.
    fn judge(&mut self, means: Means<'_>) {
        let served = self.known.keys().copied();
        self.judged
            .again(&means.data.namespace, means.redirector, served);
    }

    fn knows(&self, id: Id) -> bool {
        self.known.values().any(|known| known.id() == id)
    }

    /// Serves the namespace at `path`, unless that is done already.
    fn find(&mut self, means: Means<'_>, path: PathBuf, found: &str) -> Result<(), NamespaceError> {
        let own = &means.data.namespace;
        let (path, id) = match Id::at(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = of_other_thread(&path).unwrap_or(path);
                let id = Id::at(&path);
                (path, id)
            }
            id => (path, id),
        };
        match id {
            Ok(id) if id == own.id() || self.knows(id) => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(NamespaceError::Open { path, source }),
        }
        let namespace = Namespace::open(&path, own)?;
        if self.has_room(MOST, self.known.len(), found) {
            self.add(means, namespace, found.to_owned(), Witness::at(path));
        }
        Ok(())
    }

    /// Serves a namespace that nobody has named.
    fn add_selected(
        &mut self,
        means: Means<'_>,
        namespace: Namespace,
        found: String,
        witness: Witness,
    ) {
        let cookie = namespace.cookie();
        if self.has_room(MOST, self.known.len(), &found)
            && self.has_room(MOST_SELECTED, self.selected.len(), &found)
        {
            self.selected.insert(cookie);
            self.add(means, namespace, found, witness);
        }
    }

    /// One entry for all that there is no room for: who may make namespaces could make any number of
    /// them.
    fn has_room(&mut self, most: usize, served: usize, found: &str) -> bool {
        if served < most {
            return true;
        }
        let whose = match most {
            MOST_SELECTED => " in which somebody connected and which intercept.netns does not name",
            _ => "",
        };
        let why = format!("{most} namespaces{whose} are served already");
        let told = self
            .absent
            .insert(MORE.to_owned(), format!("{why}; the last: {found}"));
        if told.is_none() {
            tracing::warn!(
                %found,
                "network namespace not served, its connections get their rules' fail mode: {why}"
            );
        }
        false
    }

    fn add(&mut self, means: Means<'_>, namespace: Namespace, found: String, witness: Witness) {
        // Before it has listeners, so that nobody meets one that does not know whose it is.
        self.judged.add(&namespace, witness.clone(), None);
        self.judge(means);
        self.absent.remove(MORE);
        let cookie = namespace.cookie();
        let known = Known::begin(means, namespace, found, witness);
        self.judged.is_served(cookie);
        self.known.insert(cookie, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_that_nobody_named_leave_a_quarter_of_the_places() {
        let mut state = State::default();
        assert!(state.has_room(MOST_SELECTED, MOST_SELECTED - 1, "one"));
        assert!(!state.has_room(MOST_SELECTED, MOST_SELECTED, "one"));
        let why = state.absent.get(MORE).unwrap();
        assert!(
            why.contains("768") && why.contains("intercept.netns"),
            "{why}"
        );
        assert!(state.has_room(MOST, MOST_SELECTED, "one that is named"));
        assert!(!state.has_room(MOST, MOST, "one that is named"));
    }
}
