//! What both versions have in common: one connection to an endpoint, as it is judged and ended.

use std::{
    sync::{Arc, OnceLock},
    time::{Instant, SystemTime},
};

use tokio::task::AbortHandle;

use crate::{
    addr::UpstreamAddr,
    config::HttpVersion,
    data::DataPath,
    record::TlsFacts,
    refusal::Refusal,
    tls::Proven,
    upstream::{Stream, Upstream, dial::Speaks},
};

/// A connection that requests go over, one after another or several at once.
pub(super) struct Link {
    pub(super) at: UpstreamAddr,
    pub(super) server: Option<Arc<Proven>>,
    pub(super) facts: Option<Arc<TlsFacts>>,
    /// No request begins on it after this.
    pub(super) until: Instant,
    /// Whether it was announced as one client's, and no other may use it.
    pub(super) of_one_client: bool,
    refused: OnceLock<Refusal>,
    task: OnceLock<AbortHandle>,
}

impl Link {
    /// What there is to know of `stream`, and whether HTTP/2 is spoken on it.
    pub(super) fn of(
        upstream: &Upstream,
        at: UpstreamAddr,
        stream: &Stream,
        speaks: Speaks,
        data: &DataPath,
    ) -> (Self, bool) {
        let (server, facts, negotiated) = match stream {
            Stream::Plain(_) => (None, None, false),
            Stream::Tls(tls) => {
                let (_, connection) = tls.stream.get_ref();
                let two = connection.alpn_protocol() == Some(b"h2");
                let facts = Arc::new(tls.facts.clone());
                (Some(Arc::clone(&tls.peer)), Some(facts), two)
            }
        };
        let two = speaks == Speaks::Http
            && match upstream.spec.http {
                HttpVersion::One => false,
                HttpVersion::Two => true,
                HttpVersion::Negotiated => negotiated,
            };
        // A certificate that expires, of either end, takes its connections with it.
        let left = |expires: SystemTime| {
            let left = expires.duration_since(SystemTime::now());
            left.unwrap_or_default()
        };
        let of_server = server
            .as_ref()
            .map(|server| left(server.identity.not_after));
        let ends = [of_server, upstream.own_expires().map(left)];
        let age = ends.into_iter().flatten().min();
        let most = data.limits.tunnel_age;
        let link = Self {
            at,
            server,
            facts,
            until: Instant::now() + age.map_or(most, |age| age.min(most)),
            of_one_client: upstream.spec.send_proxy.is_some(),
            refused: OnceLock::new(),
            task: OnceLock::new(),
        };
        (link, two)
    }

    /// Says which task has the socket.
    pub(super) fn runs_in(&self, task: AbortHandle) {
        let _ = self.task.set(task);
        // In this order: `refuse` sets the reason first and then looks for the task.
        if self.refused.get().is_some() {
            self.cut();
        }
    }

    /// Closes it, whatever is under way.
    pub(super) fn cut(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Closes it because a reload refuses it.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let _ = self.refused.set(refusal);
        self.cut();
    }

    /// Why a reload has refused it.
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused.get().cloned()
    }

    /// Whether another request may begin on it.
    pub(super) fn may_serve_at(&self, now: Instant) -> bool {
        !self.of_one_client && now < self.until
    }
}
