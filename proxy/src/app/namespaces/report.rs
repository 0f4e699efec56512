//! What `status` shows of namespaces.

use std::{collections::HashMap, net::SocketAddr};

use serde::Serialize;

use super::{Namespaces, known::State};
use crate::data::DataPath;

/// One namespace beside the daemon's own, or an entry of `intercept.netns` for which none is there.
#[derive(Debug, Serialize)]
pub struct NamespaceReport {
    /// The entry, or who connected.
    pub found: String,
    /// `serving`, `not-served` or `absent`.
    pub state: &'static str,
    /// Its cookie, as records have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// Its inode, as `lsns` shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// In it.
    pub listeners: Vec<SocketAddr>,
    /// Those for connections that come to applications there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<SocketAddr>,
    /// Seconds since it is served, or was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Live connections that were made in it.
    pub connections: usize,
    /// Why it is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Namespaces {
    pub(super) fn report(&self, data: &DataPath) -> Vec<NamespaceReport> {
        let mut live: HashMap<u64, usize> = HashMap::new();
        for netns in data.live.list().into_iter().filter_map(|one| one.netns) {
            *live.entry(netns).or_default() += 1;
        }
        let state = self.state.lock();
        let known = state.known.iter().map(|(netns, known)| {
            let inbound = known.inbound();
            let (state, listeners, why) = match &known.state {
                State::Serving(serving) => ("serving", serving.addresses(), None),
                State::Failing(failing) => ("not-served", Vec::new(), Some(failing.why.clone())),
            };
            NamespaceReport {
                found: known.found.clone(),
                state,
                netns: Some(*netns),
                inode: Some(known.id().inode),
                listeners,
                inbound,
                since: Some(known.since.elapsed().as_secs()),
                connections: live.get(netns).copied().unwrap_or_default(),
                why,
            }
        });
        let unknown = state.judged.why_not();
        let unknown = unknown.map(|why| ("namespaces that selections ask for", why));
        let absent = state.absent.iter();
        let absent = absent.map(|(found, why)| (found.as_str(), why.as_str()));
        let absent = absent.chain(unknown).map(|(found, why)| NamespaceReport {
            found: found.to_owned(),
            state: "absent",
            netns: None,
            inode: None,
            listeners: Vec::new(),
            inbound: Vec::new(),
            since: None,
            connections: 0,
            why: Some(why.to_owned()),
        });
        let mut all: Vec<NamespaceReport> = known.chain(absent).collect();
        all.sort_by(|a, b| (&a.found, a.netns).cmp(&(&b.found, b.netns)));
        all
    }
}
