//! What goes past the redirect, for `status`: nothing is left out in silence.

use serde::Serialize;

use crate::{app::App, uncovered::kinds::NotCovered};

/// Its part of `status`.
#[derive(Debug, Serialize)]
pub struct Past {
    /// Connections past a rule, as `sidetrack sockets` lists them; absent if the kernel did not
    /// tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncovered: Option<usize>,
    /// Sockets of kinds that no program sees.
    pub not_covered: Vec<NotCovered>,
    /// What this version does not see at all.
    pub not_seen: Vec<String>,
}

const NOT_SEEN: [&str; 2] = [
    "UDP and QUIC are not redirected: rules deny them (udp_denied) or let them pass (udp_passed); \
     udp_unruled counts those to destinations of which rules speak for TCP alone",
    "connections that come to applications in other network namespaces than the daemon's, but for \
     ports of inbound rules with netns = \"served\" in those that are served",
];

const PAST_THERE: &str = "connections past a rule, and raw, packet, SCTP and UDP-Lite sockets, in namespaces where it \
     could not be looked";

/// More would say the same.
const UNSEEN: usize = 4;

impl Past {
    /// Asks the kernel. What it does not tell is the log's.
    pub fn of(app: &App) -> Self {
        let past = app
            .past_redirect()
            .inspect_err(|error| tracing::warn!(%error, "looking for what goes past the redirect"))
            .ok();
        let mut not_seen: Vec<String> = NOT_SEEN.map(Into::into).into();
        let unseen = past.iter().flat_map(|past| &past.unseen).take(UNSEEN);
        not_seen.extend(unseen.map(|what| format!("{PAST_THERE}: {what}")));
        Self {
            uncovered: past.as_ref().map(|past| past.uncovered.len()),
            not_covered: past.map(|past| past.kinds).unwrap_or_default(),
            not_seen,
        }
    }
}
