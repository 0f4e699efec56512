//! Which namespaces selections name, and which are others for certain: what the kernel knows of them.
//!
//! A namespace that is in neither is not known, and rules that tell namespaces apart are read at their
//! strictest for it. It is looked at when the kernel tells of a connection there: one that has a name by
//! then had it before, or was mounted while nobody could connect there past the rules.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use crate::{
    kernel::{
        Redirector,
        rules::{Names, RuleTables},
    },
    netns::{Id, Namespace, named::Named, users::Witness},
};

/// Others that are known: whoever may make namespaces is not to fill the kernel's table.
const MOST: usize = 4_096;

#[derive(Default)]
pub(super) struct Judged {
    /// Of the rules that [`Self::named`] is of.
    generation: u32,
    named: Named,
    others: HashMap<u64, Other>,
    told: BTreeMap<u64, Names>,
    /// Why some are not known, once it has been logged.
    why_not: Option<String>,
}

/// Not held: it ends when its last user does.
struct Other {
    id: Id,
    witness: Witness,
}

impl Judged {
    /// Looks what the entries of `tables` name, for when these are active. Of what is known beside
    /// that, `served` are the namespaces that have listeners.
    pub(super) fn prepare(
        &mut self,
        (own, mount): (&Namespace, &Path),
        tables: &RuleTables,
        served: impl Iterator<Item = u64>,
    ) {
        self.named = Named::new(tables.netns_asked());
        self.generation = tables.generation;
        self.told = self.look(own, mount, served);
        tables.know_namespaces(&self.told);
    }

    /// Looks again, and tells the kernel what has changed.
    pub(super) fn again(
        &mut self,
        (own, mount): (&Namespace, &Path),
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
            self.others.clear();
            return;
        }
        let names = self.look(own, mount, served);
        if names == self.told {
            return;
        }
        match redirector.name_namespaces(&tables, &names) {
            Ok(()) => self.told = names,
            Err(error) => {
                self.say_once(format!("telling the kernel of network namespaces: {error}"));
            }
        }
    }

    fn look(
        &mut self,
        own: &Namespace,
        mount: &Path,
        served: impl Iterator<Item = u64>,
    ) -> BTreeMap<u64, Names> {
        self.named.look(own, mount);
        match self.named.doubt() {
            Some(doubt) => self.say_once(doubt.to_owned()),
            None if self.others.len() < MOST => self.why_not = None,
            None => {}
        }
        self.named
            .names(own, served.chain(self.others.keys().copied()))
    }

    /// Somebody uses this one. What it is called is seen at the next look.
    pub(super) fn add(&mut self, namespace: &Namespace, witness: Witness) {
        let cookie = namespace.cookie();
        if self.others.len() >= MOST && !self.others.contains_key(&cookie) {
            return self.say_once(format!("{MOST} network namespaces are known already"));
        }
        let id = namespace.id();
        self.others.insert(cookie, Other { id, witness });
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
        self.others.retain(|_, other| {
            if let Some(witness) = used.get(&other.id) {
                other.witness = witness.clone();
                return true;
            }
            !lonely.contains(&other.id)
        });
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
