//! Network namespaces beside the daemon's own: they get listeners when they are found or somebody
//! connects there, and lose them when nobody uses them any more.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::heartbeat::Heartbeat;
use crate::{
    config::NetnsSource,
    data::DataPath,
    kernel::Redirector,
    netns::{
        Id, Namespace, NamespaceError, Remains,
        source::{Source, of_process},
        users::{self, Witness},
    },
};

mod follow;
mod known;
mod places;
mod proof;
mod report;
mod serving;

pub(super) use follow::{spawn, wants_any};
use known::Known;
pub(super) use proof::Served;
pub use report::NamespaceReport;

/// Those that get listeners: whoever may make namespaces is not to fill the registry.
const MOST: usize = sidetrack_abi::names::NAMESPACE_ENTRIES;

/// Under this name `status` says that there are more.
const MORE: &str = "more namespaces";

/// Between two searches through all processes: whoever makes a namespace, connects and ends causes one.
const BETWEEN_SEARCHES: Duration = Duration::from_millis(200);

/// What serving a namespace takes.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) data: &'a Arc<DataPath>,
    pub(super) redirector: &'a Redirector,
    pub(super) heartbeat: &'a Heartbeat,
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
    /// Cookies of those in which somebody connected who is not there any more.
    missed: HashSet<u64>,
    searched: Option<Instant>,
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
        self.state.lock().search(means, before);
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

    /// Somebody connected in these, by cookie and process.
    pub(super) fn look_at_asked(&self, means: Means<'_>, asked: HashMap<u64, u32>) {
        let mut state = self.state.lock();
        for (cookie, pid) in asked {
            if let Some(known) = state.known.get_mut(&cookie) {
                known.try_now();
            } else if self.selected {
                let path = of_process(pid);
                match Namespace::open(&path, &means.data.namespace) {
                    Ok(namespace) if namespace.cookie() == cookie => {
                        let found = format!("selected, process {pid}");
                        state.add(means, namespace, found, Witness::at(path));
                    }
                    Err(error) if error.is_forbidden() => state.forbidden(&error),
                    // It has ended, but others may be there.
                    Ok(_) | Err(_) => {
                        state.missed.insert(cookie);
                    }
                }
            }
        }
    }

    /// Tries those again that could not be served or found, if it is time. When the next one is due.
    pub(super) fn try_again(&self, means: Means<'_>) -> Option<Instant> {
        let mut state = self.state.lock();
        let searched = state.search_missed(means);
        let known = state.known.values_mut();
        known
            .filter_map(|known| known.try_again(means))
            .chain(searched)
            .min()
    }

    /// Takes the listeners out of those that nobody uses any more, and looks at the addresses and
    /// routes of the others if they have changed.
    pub(super) fn look_at_users(&self, means: Means<'_>) {
        let mut state = self.state.lock();
        let lonely: HashSet<Id> = state
            .known
            .values()
            .filter(|known| !known.is_used())
            .map(Known::id)
            .collect();
        let used = if lonely.is_empty() {
            HashMap::new()
        } else {
            users::of(&lonely)
        };
        let cut_at = Instant::now() + means.data.policy.load().config.daemon.drain;
        let mut gone = Vec::new();
        state.known.retain(|_, known| {
            if !lonely.contains(&known.id()) {
                known.look_at_facts(means);
                return true;
            }
            match used.get(&known.id()) {
                Some(witness) => known.seen(witness),
                None => gone.push(known.end(means)),
            }
            used.contains_key(&known.id())
        });
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

    /// Looks for those of which no process was left that had connected. When it is time, if it is
    /// not yet.
    fn search_missed(&mut self, means: Means<'_>) -> Option<Instant> {
        if self.missed.is_empty() {
            return None;
        }
        let due = self.searched.map(|last| last + BETWEEN_SEARCHES);
        if let Some(due) = due.filter(|due| Instant::now() < *due) {
            return Some(due);
        }
        let missed = std::mem::take(&mut self.missed);
        self.search(means, &missed);
        self.searched = Some(Instant::now());
        None
    }

    /// Serves those of `cookies` that anybody uses.
    fn search(&mut self, means: Means<'_>, cookies: &HashSet<u64>) {
        let own = &means.data.namespace;
        for (id, witness) in users::all().found {
            if id == own.id() || self.knows(id) {
                continue;
            }
            match Namespace::open(witness.path(), own) {
                Ok(namespace) if cookies.contains(&namespace.cookie()) => {
                    let found = format!("selected, at {}", witness.path().display());
                    self.add(means, namespace, found, witness);
                }
                // Of another kind, or nobody's whom a rule is for.
                Ok(_) | Err(NamespaceError::Enter { .. } | NamespaceError::NotOne(_)) => {}
                Err(error) => tracing::debug!(%error, "searching for network namespaces"),
            }
        }
    }

    fn knows(&self, id: Id) -> bool {
        self.known.values().any(|known| known.id() == id)
    }

    /// Serves the namespace at `path`, unless that is done already.
    fn find(&mut self, means: Means<'_>, path: PathBuf, found: &str) -> Result<(), NamespaceError> {
        let own = &means.data.namespace;
        match Id::at(&path) {
            Ok(id) if id == own.id() || self.knows(id) => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(NamespaceError::Open { path, source }),
        }
        let namespace = Namespace::open(&path, own)?;
        self.add(means, namespace, found.to_owned(), Witness::at(path));
        Ok(())
    }

    fn add(&mut self, means: Means<'_>, namespace: Namespace, found: String, witness: Witness) {
        let cookie = namespace.cookie();
        if self.known.len() < MOST {
            self.absent.remove(MORE);
        } else {
            // One entry for all: who may make namespaces could make any number of them.
            let why = format!("{MOST} namespaces are served already");
            self.absent
                .insert(MORE.to_owned(), format!("{why}; the last: {found}"));
            return;
        }
        let known = Known::begin(means, namespace, found, witness);
        self.known.insert(cookie, known);
    }
}
