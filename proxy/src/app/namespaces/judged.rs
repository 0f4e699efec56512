//! Which namespaces selections name, and which are others for certain: what the kernel knows of them.
//!
//! A namespace that is in neither is not known, and rules that tell namespaces apart are read at their
//! strictest for it. It is looked at when the kernel tells of a connection there: one that has a name by
//! then had it before, or was mounted while nobody could connect there past the rules.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    kernel::{
        Redirector,
        effective::Fault,
        rules::{MOST_DIFFERENT, Names, RuleTables},
    },
    netns::{Id, Namespace, named::Named, users::Witness},
};

/// Others that are known: whoever may make namespaces is not to fill the kernel's table.
const MOST: usize = 4_096;

/// Those of them that became known because one user connected there, so that none takes the places of
/// all others.
const MOST_OF_USER: usize = MOST / 4;

#[derive(Default)]
pub(super) struct Judged {
    /// Of the rules that [`Self::named`] is of.
    generation: u32,
    named: Named,
    others: HashMap<u64, Other>,
    told: BTreeMap<u64, Names>,
    /// Named in more ways than there are numbers for.
    unnumbered: usize,
    /// Why there was no room for another one.
    full: Option<String>,
    /// Why some are not known, once it has been logged.
    why_not: Option<String>,
}

/// Not held: it ends when its last user does.
struct Other {
    id: Id,
    witness: Witness,
    /// Who connected there, if it became known by that.
    user: Option<u32>,
}

impl Judged {
    /// Looks what the entries of `tables` name, for when these are active. Of what is known beside
    /// that, `served` are the namespaces that have listeners.
    pub(super) fn prepare(
        &mut self,
        own: &Namespace,
        tables: &RuleTables,
        served: impl Iterator<Item = u64>,
    ) {
        self.named = Named::new(tables.netns_asked());
        self.generation = tables.generation;
        self.told = self.look(own, served);
        tables.know_namespaces(&self.told);
        self.conclude(tables);
    }

    /// Looks again, and tells the kernel what has changed.
    pub(super) fn again(
        &mut self,
        own: &Namespace,
        redirector: &Redirector,
        served: impl Iterator<Item = u64>,
    ) {
        let tables = redirector.tables();
        if self.generation != tables.generation {
            self.named = Named::new(tables.netns_asked());
            self.generation = tables.generation;
            self.told.clear();
        }
        if tables.netns_asked().is_empty() {
            *self = Self {
                generation: self.generation,
                ..Self::default()
            };
            return;
        }
        let names = self.look(own, served);
        if names != self.told {
            if let Err(error) = redirector.name_namespaces(&tables, &names) {
                self.say_once(format!("telling the kernel of network namespaces: {error}"));
                return;
            }
            self.told = names;
        }
        self.conclude(&tables);
    }

    fn look(&mut self, own: &Namespace, served: impl Iterator<Item = u64>) -> BTreeMap<u64, Names> {
        self.named.look(own);
        self.named
            .names(own, served.chain(self.others.keys().copied()))
    }

    /// After a look: whether some are not known, and why.
    fn conclude(&mut self, tables: &RuleTables) {
        self.unnumbered = tables.unnumbered_namespaces();
        let doubt = self.named.doubt().map(str::to_owned);
        let unnumbered = (self.unnumbered > 0).then(|| unnumbered(self.unnumbered));
        match doubt.or(unnumbered).or_else(|| self.full.clone()) {
            Some(why) => self.say_once(why),
            None => self.why_not = None,
        }
    }

    /// Somebody uses this one: the `user` who connected there, if that is how it was found. What it is
    /// called is seen at the next look.
    pub(super) fn add(&mut self, namespace: &Namespace, witness: Witness, user: Option<u32>) {
        self.insert(namespace.cookie(), namespace.id(), witness, user);
    }

    fn insert(&mut self, cookie: u64, id: Id, witness: Witness, user: Option<u32>) {
        if let Some(known) = self.others.get_mut(&cookie) {
            known.witness = witness;
            return;
        }
        let others = self.others.values();
        let of_user = || others.filter(|other| other.user == user).count();
        let why = if self.others.len() >= MOST {
            format!("{MOST} network namespaces are known already")
        } else if let Some(user) = user.filter(|_| of_user() >= MOST_OF_USER) {
            format!("{MOST_OF_USER} in which the user {user} connected are known already")
        } else {
            let other = Other { id, witness, user };
            self.others.insert(cookie, other);
            return;
        };
        self.full = Some(why.clone());
        self.say_once(why);
    }

    /// It has listeners, so that it is known by that.
    pub(super) fn is_served(&mut self, cookie: u64) {
        self.others.remove(&cookie);
    }

    /// Those of which the one is gone who was seen to use them.
    pub(super) fn lonely(&self) -> impl Iterator<Item = Id> {
        let others = self.others.values();
        others
            .filter(|other| !other.witness.still_uses(other.id))
            .map(|other| other.id)
    }

    /// Drops those of the `lonely` that nobody uses.
    pub(super) fn retain(&mut self, lonely: &HashSet<Id>, used: &HashMap<Id, Witness>) {
        let before = self.others.len();
        self.others.retain(|_, other| {
            if let Some(witness) = used.get(&other.id) {
                other.witness = witness.clone();
                return true;
            }
            !lonely.contains(&other.id)
        });
        if self.others.len() < before {
            self.full = None;
        }
    }

    /// What no look puts right.
    pub(super) fn fault(&self) -> Option<Fault> {
        (self.unnumbered > 0).then(|| {
            Fault::new(
                format!(
                    "network namespaces get the strictest rule that could be theirs: {}",
                    unnumbered(self.unnumbered)
                ),
                "name fewer of them in the selectors of rules' selections, then reload",
            )
        })
    }

    /// Why some namespaces are not known, if that is so.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.why_not.as_deref()
    }

    fn say_once(&mut self, why: String) {
        if self.why_not.is_none() {
            tracing::warn!(
                "network namespaces stay unknown to selections, and get the strictest rule that could \
                 be theirs: {why}"
            );
        }
        self.why_not = Some(why);
    }
}

fn unnumbered(count: usize) -> String {
    format!(
        "{count} are named by selectors in other ways than the {MOST_DIFFERENT} that are told apart"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn one_user_does_not_take_the_places_of_namespaces_of_others() {
        let mut judged = Judged::default();
        let at = Path::new("/proc/self/ns/net");
        let id = Id::at(at).unwrap();
        let mut add = |cookie, user| {
            judged.insert(cookie, id, Witness::at(at.into()), user);
            judged.others.len()
        };
        for cookie in 0..2 * MOST as u64 {
            add(cookie, Some(1000));
        }
        assert_eq!(add(0, Some(1000)), MOST_OF_USER);
        assert_eq!(add(u64::MAX, Some(1001)), MOST_OF_USER + 1);
        assert_eq!(add(u64::MAX - 1, None), MOST_OF_USER + 2);
        assert!(judged.why_not().unwrap().contains("user 1000"));
        judged.retain(&HashSet::from([id]), &HashMap::new());
        assert_eq!((judged.others.len(), judged.full), (0, None));
    }
}
