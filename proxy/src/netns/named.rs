//! Namespaces that selections name, as they are at the moment.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Id, Namespace};
use crate::{config::NetnsSelector, kernel::rules::Names};

/// What the entries of selections name. It is looked at again and again.
#[derive(Debug, Default)]
pub struct Named {
    entries: Vec<Entry>,
    /// Why it is not certain that a namespace is none of them.
    doubt: Option<String>,
}

#[derive(Debug)]
enum Entry {
    Own,
    At {
        path: PathBuf,
        /// Held, so that no other can have its inode while it is taken for this one.
        held: Option<Namespace>,
    },
}

impl Named {
    /// By these entries, at which nobody has looked yet.
    pub fn new(asked: &[NetnsSelector]) -> Self {
        let entries = asked.iter().map(|one| match one {
            NetnsSelector::Host => Entry::Own,
            NetnsSelector::Path(path) => Entry::At {
                path: path.clone(),
                held: None,
            },
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
        beside: impl IntoIterator<Item = u64>,
    ) -> BTreeMap<u64, Names> {
        let mut named = Self::new(asked);
        named.look(own);
        named.names(own, beside)
    }

    /// Looks what they name now.
    pub fn look(&mut self, own: &Namespace) {
        self.doubt = None;
        for entry in &mut self.entries {
            if let Err(doubt) = entry.look(own) {
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
            if let Some(namespace) = entry.named(own) {
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
    fn named<'a>(&'a self, own: &'a Namespace) -> Option<&'a Namespace> {
        match self {
            Self::Own => Some(own),
            Self::At { held, .. } => held.as_ref(),
        }
    }

    /// What could not be looked at keeps its name: that a path leads elsewhere is not known.
    fn look(&mut self, own: &Namespace) -> Result<(), String> {
        let Self::At { path, held } = self else {
            return Ok(());
        };
        let is_held = |held: &Namespace| Id::at(path).is_ok_and(|id| id == held.id());
        if held.as_ref().is_some_and(is_held) {
            return Ok(());
        }
        match Namespace::at(path, own) {
            Ok(namespace) => *held = Some(namespace),
            Err(error) if error.is_absent() => *held = None,
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::kernel::sys;

    fn own() -> Namespace {
        Namespace::own(sys::netns_cookie().unwrap()).unwrap()
    }

    fn at(path: &Path) -> NetnsSelector {
        NetnsSelector::Path(path.into())
    }

    #[test]
    fn the_own_namespace_has_all_its_names_and_another_one_none() {
        let own = own();
        let asked = [
            at(Path::new("/proc/self/ns/net")),
            at(Path::new("/no/such/namespace")),
            NetnsSelector::Host,
        ];
        let names = Named::now(&asked, &own, [0]);
        let mut of_own = Names::default();
        [0, 2].into_iter().for_each(|place| of_own.add(place));
        assert_eq!(
            names,
            BTreeMap::from([(0, Names::default()), (own.cookie(), of_own)])
        );
    }

    #[test]
    fn a_path_that_cannot_be_looked_at_keeps_what_it_named_and_leaves_others_unknown() {
        let own = own();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named");
        symlink("/proc/self/ns/net", &path).unwrap();
        let mut named = Named::new(&[at(&path)]);
        named.look(&own);
        let before = named.names(&own, [0]);
        assert_eq!((before.len(), named.doubt()), (2, None));
        fs::remove_file(&path).unwrap();
        // Too many links: an error that does not say that nothing is there.
        symlink(&path, &path).unwrap();
        named.look(&own);
        assert!(named.doubt().unwrap().contains("named"));
        let doubted = named.names(&own, [0]);
        assert_eq!(doubted.get(&own.cookie()), before.get(&own.cookie()));
        assert!(!doubted.contains_key(&0), "{doubted:?}");
        fs::remove_file(&path).unwrap();
        named.look(&own);
        let gone = named.names(&own, [0]);
        assert_eq!(named.doubt(), None);
        assert!(gone.values().all(|names| *names == Names::default()));
    }
}
