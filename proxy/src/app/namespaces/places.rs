//! Every network namespace that somebody uses, whether it has listeners or not: rules hold in all of
//! them, and so may be gone past in all.

use std::{collections::HashSet, net::SocketAddr};

use super::{MOST, Namespaces, known::State};
use crate::netns::{
    Namespace,
    users::{self, Witness},
};

/// A namespace beside the daemon's own.
pub(in crate::app) struct Place {
    pub(in crate::app) namespace: Namespace,
    /// How it was found, as `status` has it.
    pub(in crate::app) found: String,
    /// Ours.
    pub(in crate::app) listeners: HashSet<SocketAddr>,
}

/// All that are found.
#[derive(Default)]
pub(in crate::app) struct Places {
    pub(in crate::app) all: Vec<Place>,
    /// What is not known of the rest.
    pub(in crate::app) unseen: Vec<String>,
    forbidden: Option<String>,
}

impl Namespaces {
    /// Looks at all processes and mounts. At most as many as can be served.
    pub(in crate::app) fn places(&self, own: &Namespace) -> Places {
        let mut places = Places {
            all: self.known(),
            ..Places::default()
        };
        let used = users::all();
        if used.hidden {
            places.unseen.push(
                "network namespaces of processes that do not show theirs, which takes \
                 CAP_SYS_PTRACE"
                    .to_owned(),
            );
        }
        let known: HashSet<_> = places
            .all
            .iter()
            .map(|place| place.namespace.id())
            .collect();
        let more = used.found.into_iter();
        let more = more.filter(|(id, _)| *id != own.id() && !known.contains(id));
        for (_, witness) in more {
            if places.all.len() >= MOST {
                places
                    .unseen
                    .push(format!("more than {MOST} network namespaces"));
                break;
            }
            places.add(&witness, own);
        }
        places.unseen.extend(places.forbidden.take());
        places
    }

    fn known(&self) -> Vec<Place> {
        let state = self.state.lock();
        let known = state.known.values().map(|known| Place {
            namespace: known.namespace.clone(),
            found: known.found.clone(),
            listeners: match &known.state {
                State::Serving(serving) => serving.listeners.iter().map(|(at, _)| *at).collect(),
                State::Failing(_) => HashSet::new(),
            },
        });
        known.collect()
    }
}

impl Places {
    fn add(&mut self, witness: &Witness, own: &Namespace) {
        match Namespace::open(witness.path(), own) {
            Ok(namespace) => self.all.push(Place {
                namespace,
                found: format!("at {}", witness.path().display()),
                listeners: HashSet::new(),
            }),
            // The first says why.
            Err(error) if error.is_forbidden() => {
                let why = error.to_string();
                self.forbidden.get_or_insert(why);
            }
            // It has gone meanwhile.
            Err(_) => {}
        }
    }
}
