//! Namespaces in which somebody connected: which of them they are, and whether they need listeners.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use sidetrack_abi::{
    Verdict,
    event::{EVENT_NAMESPACE_PASSED, EVENT_OTHER_NAMESPACE, Refused},
    rules::RULE_UNCLASSIFIED,
};

use super::{Means, Namespaces, known::Known, missed::Next};
use crate::{
    addr::OriginalDst,
    config::Protocol,
    kernel::{
        process,
        rules::{RuleTables, Task},
    },
    netns::{
        Id, Namespace, NamespaceError,
        source::of_process,
        users::{self, Witness},
    },
};

impl Namespaces {
    /// Somebody connected in these, by cookie.
    pub(super) fn look_at_asked(&self, means: Means<'_>, asked: HashMap<u64, Refused>) {
        let mut found = Vec::new();
        let mut state = self.state.lock();
        // After the kernel has told of it: what was mounted before somebody connected has its name.
        state.judge(means);
        let tables = means.redirector.tables();
        for (cookie, refused) in asked {
            if let Some(known) = state.known.get_mut(&cookie) {
                known.try_now();
                continue;
            }
            if !self.selected && tables.knows_namespace(cookie) {
                continue;
            }
            let pid = refused.connection.pid;
            let path = of_process(pid);
            match Namespace::open(&path, &means.data.namespace) {
                Ok(namespace) if namespace.cookie() == cookie => {
                    let how = format!("selected, process {pid}");
                    found.push((refused, namespace, how, Witness::at(path)));
                }
                Err(error) if error.is_forbidden() => state.forbidden(&error),
                // It has ended, but others may be there.
                Ok(_) | Err(_) => state.missed.add(refused),
            }
        }
        drop(state);
        self.found(means, &tables, found);
    }

    /// Those in which somebody connected, and who uses them.
    fn found(
        &self,
        means: Means<'_>,
        tables: &RuleTables,
        found: Vec<(Refused, Namespace, String, Witness)>,
    ) {
        if found.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if !tables.netns_asked().is_empty() {
            for (refused, namespace, _, witness) in &found {
                let user = refused.connection.uid;
                state.judged.add(namespace, witness.clone(), Some(user));
            }
            state.judge(means);
        }
        for (refused, namespace, how, witness) in found {
            if self.selected && wants_listeners(tables, &refused) {
                state.add_selected(means, namespace, how, witness);
            }
        }
    }

    /// Looks for those of which no process was left that had connected. When it is time, if it is
    /// not yet.
    pub(super) fn search_missed(&self, means: Means<'_>) -> Option<Instant> {
        let next = self.state.lock().missed.next(Instant::now());
        let asked = match next {
            Next::Nothing => return None,
            Next::At(due) => return Some(due),
            Next::Now(asked) => asked,
        };
        let begun = Instant::now();
        let found = self.search(&means.data.namespace, |cookie| asked.contains_key(&cookie));
        let cookies = found.iter().map(|(namespace, _)| namespace.cookie());
        let mut state = self.state.lock();
        let ended = Instant::now();
        state
            .missed
            .searched(&asked, &cookies.collect(), (begun, ended));
        drop(state);
        let found = found.into_iter().filter_map(|(namespace, witness)| {
            let how = format!("selected, at {}", witness.path().display());
            let refused = asked.get(&namespace.cookie())?;
            Some((*refused, namespace, how, witness))
        });
        self.found(means, &means.redirector.tables(), found.collect());
        None
    }

    /// Those of all that anybody uses that are wanted, by cookie. The state is free meanwhile: this
    /// reads all of /proc.
    pub(super) fn search(
        &self,
        own: &Namespace,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Vec<(Namespace, Witness)> {
        let known: HashSet<Id> = self.state.lock().known.values().map(Known::id).collect();
        let mut found = Vec::new();
        for (id, witness) in users::all().found {
            if id == own.id() || known.contains(&id) {
                continue;
            }
            match Namespace::open(witness.path(), own) {
                Ok(namespace) if is_wanted(namespace.cookie()) => found.push((namespace, witness)),
                // Of another kind, or nobody's whom a rule is for.
                Ok(_) | Err(NamespaceError::Enter { .. } | NamespaceError::NotOne(_)) => {}
                Err(error) => tracing::debug!(%error, "searching for network namespaces"),
            }
        }
        found
    }
}

/// Whether some rule would redirect the connection, now that it is known in which namespace it was.
fn wants_listeners(tables: &RuleTables, refused: &Refused) -> bool {
    let connection = &refused.connection;
    if !matches!(refused.kind, EVENT_NAMESPACE_PASSED | EVENT_OTHER_NAMESPACE) {
        return false;
    }
    if connection.rule != RULE_UNCLASSIFIED {
        return true;
    }
    // Without its cgroup nobody can tell. One that it has moved to decides for its next connection.
    let Ok(cgroup) = process::cgroup(connection.pid) else {
        return true;
    };
    let selection = tables.selection(&Task {
        cgroup: &cgroup,
        uid: connection.uid,
        gid: Some(connection.gid),
        executable: connection.executable,
        netns: Some(refused.netns),
    });
    let destination = OriginalDst::new(connection.destination.into());
    let verdict = tables.decide(Protocol::Tcp, destination, selection);
    matches!(verdict, Verdict::Redirect(_))
}
