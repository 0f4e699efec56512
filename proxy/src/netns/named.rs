//! Namespaces that selections name, as they are at the moment.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use super::{Id, Namespace, source::Source};
use crate::{config::NetnsSelector, kernel::rules::Names};

/// How many are held at once: whoever may make namespaces could make any number of them in a cgroup
/// that an entry names.
const MOST: usize = 1024;

/// What the entries of selections name. It is looked at again and again.
#[derive(Debug, Default)]
pub struct Named {
    entries: Vec<Entry>,
    /// Why it is not certain that a namespace is none of them.
    doubt: Option<String>,
}

#[derive(Debug)]
struct Entry {
    /// None is the daemon's own.
    source: Option<Source>,
    /// Held, so that no other can have its inode while it is taken for this one.
    held: HashMap<Id, Namespace>,
}

impl Named {
    /// By these entries, at which nobody has looked yet.
    pub fn new(asked: &[NetnsSelector]) -> Self {
        let entries = asked.iter().map(|one| Entry {
            source: match one {
                NetnsSelector::Host => None,
                NetnsSelector::At(source) => Some(Source::new(source.clone())),
            },
            held: HashMap::new(),
        });
        Self {
            entries: entries.collect(),
            doubt: None,
        }
    }

    /// What the namespace `own`, those that are named now and `beside` are called, by cookie.
    pub fn now(
        asked: &[NetnsSelector],
        own: &Namespace,
        mount: &Path,
        beside: impl IntoIterator<Item = u64>,
    ) -> BTreeMap<u64, Names> {
        let mut named = Self::new(asked);
        named.look(own, mount);
        named.names(own, beside)
    }

    /// Looks what they name now.
    pub fn look(&mut self, own: &Namespace, mount: &Path) {
        self.doubt = None;
        let mut room = MOST;
        for entry in &mut self.entries {
            if let Err(doubt) = entry.look(own, mount, &mut room) {
                self.doubt = Some(doubt);
            }
        }
    }

    /// Why it is not certain that a namespace without a name has none, if it is not.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// What namespaces are called, by cookie: the daemon's own, those that are named and, unless
    /// there is doubt, those `beside`.
    pub fn names(
        &self,
        own: &Namespace,
        beside: impl IntoIterator<Item = u64>,
    ) -> BTreeMap<u64, Names> {
        let mut names: BTreeMap<u64, Names> = BTreeMap::new();
        names.entry(own.cookie()).or_default();
        for (place, entry) in self.entries.iter().enumerate() {
            let host = entry.source.is_none().then_some(own);
            for namespace in entry.held.values().chain(host) {
                names.entry(namespace.cookie()).or_default().add(place);
            }
        }
        if self.doubt.is_none() {
            for cookie in beside {
                names.entry(cookie).or_default();
            }
        }
        names
    }
}

impl Entry {
    fn look(&mut self, own: &Namespace, mount: &Path, room: &mut usize) -> Result<(), String> {
        let Some(source) = &mut self.source else {
            return Ok(());
        };
        let mut before = std::mem::take(&mut self.held);
        // What is not there names nothing.
        let paths = source.look(mount).unwrap_or_default();
        let mut doubt = Ok(());
        for path in paths {
            let id = Id::at(&path).ok();
            if id.is_some_and(|id| self.held.contains_key(&id)) {
                continue;
            }
            if *room == 0 {
                return Err(format!("more than {MOST} namespaces are named"));
            }
            let found = match id.and_then(|id| before.remove(&id)) {
                Some(held) => Ok(held),
                None => Namespace::at(&path, own),
            };
            match found {
                Ok(namespace) => {
                    *room -= 1;
                    self.held.insert(namespace.id(), namespace);
                }
                Err(error) if error.is_absent() => {}
                Err(error) => doubt = Err(error.to_string()),
            }
        }
        doubt
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process};

    use super::*;
    use crate::{config::NetnsSource, kernel::sys};

    #[test]
    fn the_own_namespace_has_all_its_names_and_another_one_none() {
        let own = Namespace::own(sys::netns_cookie().unwrap()).unwrap();
        let at = NetnsSelector::At;
        let asked = [
            at(NetnsSource::Path("/proc/self/ns/net".into())),
            at(NetnsSource::Path(PathBuf::from("/no/such/namespace"))),
            NetnsSelector::Host,
            at(NetnsSource::Pid(process::id())),
        ];
        let mount = Path::new("/");
        let names = Named::now(&asked, &own, mount, [0]);
        let mut of_own = Names::default();
        [0, 2, 3].into_iter().for_each(|place| of_own.add(place));
        assert_eq!(
            names,
            BTreeMap::from([(0, Names::default()), (own.cookie(), of_own)])
        );
    }
}
