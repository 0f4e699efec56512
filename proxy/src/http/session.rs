//! What the requests of one connection share.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, OnceLock, Weak},
};

use hyper::Request;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{exchange::Exchange, upgrade::Upgrading};
use crate::{
    addr::ClientAddr,
    config::{TlsMode, http::Route},
    data::DataPath,
    policy::{Policy, http::HttpPolicy, listener::Serving},
    proxy_header::{Announced, AnnouncedTls},
    record::{
        ConnectionId, TlsFacts,
        request::{Asked, RequestRecord},
    },
    refusal::{Reason, Refusal},
    tls::Proven,
};

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Client {
    /// Id of the connection.
    pub id: ConnectionId,
    /// The listener.
    pub listener: Arc<str>,
    /// Whom it met.
    pub own: Option<Arc<str>>,
    /// Who connected, by the PROXY header of who may say so.
    pub client: SocketAddr,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Whom the client proved to be.
    pub identity: Option<Arc<Proven>>,
}

/// A connection that requests come by.
pub struct Session {
    pub(super) data: Arc<DataPath>,
    pub(super) of: Client,
    pub(super) tls: Option<TlsFacts>,
    /// The client's, as records have it.
    identity: Option<Arc<str>>,
    /// The last policy in which the listener takes requests, and the generation that was looked at.
    policy: Mutex<(Arc<HttpPolicy>, u32)>,
    requests: Mutex<Requests>,
    upgrading: Mutex<Option<Upgrading>>,
    cause: OnceLock<Refusal>,
    broken: OnceLock<Refusal>,
}

#[derive(Debug)]
struct Requests {
    next: u64,
    under_way: HashMap<u64, Weak<Exchange>>,
    /// Since when there is none.
    none_since: Instant,
}

impl Session {
    /// A connection that `policy` let in.
    pub fn new(
        data: &Arc<DataPath>,
        of: Client,
        tls: Option<TlsFacts>,
        policy: Arc<HttpPolicy>,
    ) -> Self {
        let identity = of.identity.as_ref();
        Self {
            data: Arc::clone(data),
            identity: identity.map(|identity| identity.to_string().into()),
            of,
            tls,
            // No policy has the number 0: the first request looks at that of then.
            policy: Mutex::new((policy, 0)),
            requests: Mutex::new(Requests {
                next: 0,
                under_way: HashMap::new(),
                none_since: Instant::now(),
            }),
            upgrading: Mutex::new(None),
            cause: OnceLock::new(),
            broken: OnceLock::new(),
        }
    }

    /// Begins a request whose head has come.
    pub(super) fn begin(self: &Arc<Self>, request: &Request<()>) -> Arc<Exchange> {
        let record = RequestRecord::begin(
            &self.data.sink,
            Asked {
                connection: self.of.id,
                source: ClientAddr::new(self.of.client),
                listener: Arc::clone(&self.of.listener),
                peer_identity: self.identity.clone(),
                method: request.method().clone(),
                uri: request.uri().clone(),
                version: request.version(),
            },
        );
        let mut requests = self.requests.lock();
        let key = requests.next;
        requests.next += 1;
        let exchange = Arc::new(Exchange::new(Arc::clone(self), key, record));
        requests.under_way.insert(key, Arc::downgrade(&exchange));
        exchange
    }

    pub(super) fn leave(&self, key: u64) {
        let mut requests = self.requests.lock();
        requests.under_way.remove(&key);
        if requests.under_way.is_empty() {
            requests.none_since = Instant::now();
        }
    }

    /// All that are under way.
    pub(super) fn under_way(&self) -> Vec<Arc<Exchange>> {
        // The last to let go of one locks the requests: so nobody does in here.
        let requests = self.requests.lock();
        requests
            .under_way
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Since when no request is under way; `None` if one is.
    pub(super) fn none_since(&self) -> Option<Instant> {
        let requests = self.requests.lock();
        requests.under_way.is_empty().then_some(requests.none_since)
    }

    /// The policy that is in force. A listener that a reload took away, or gave
    /// another mode, goes on by its last one.
    pub(super) fn policy(&self) -> Arc<HttpPolicy> {
        let policy = self.data.policy.load();
        let mut last = self.policy.lock();
        if last.1 != policy.generation {
            if let Some(http) = in_mode_http(&policy, &self.of.listener) {
                last.0 = http;
            }
            last.1 = policy.generation;
        }
        Arc::clone(&last.0)
    }

    /// Whether the client may use `route`.
    ///
    /// # Errors
    /// [`Reason::NotAllowed`]
    pub(super) fn judge(&self, route: &Route) -> Result<(), Refusal> {
        if route.allow.is_empty() {
            return Ok(());
        }
        let Some(client) = &self.of.identity else {
            return Err(Refusal::new(
                Reason::NotAllowed,
                "the client proved no identity",
            ));
        };
        let from = self.of.peer.ip().to_canonical();
        let mut allow = route.allow.iter();
        if allow.any(|expected| expected.matches(&client.identity, from)) {
            return Ok(());
        }
        let detail = format!("{client} is not in allow of the route");
        Err(Refusal::new(Reason::NotAllowed, detail))
    }

    /// The client, as upstreams are told of it.
    pub(super) fn announced(&self) -> Announced<'_> {
        let identity = self.of.identity.as_ref();
        Announced {
            client: self.of.client,
            destination: self.of.local,
            tls: self.tls.as_ref().map(|facts| AnnouncedTls {
                facts,
                common_name: identity.and_then(|client| client.identity.common_name.as_deref()),
                certificate: identity.is_some(),
            }),
        }
    }

    /// Keeps a connection that is about to be one of another protocol.
    pub(super) fn upgrade(&self, upgrading: Upgrading) {
        *self.upgrading.lock() = Some(upgrading);
    }

    /// Whether it is about to be one.
    pub(super) fn is_upgrading(&self) -> bool {
        self.upgrading.lock().is_some()
    }

    /// Takes what [`Self::upgrade`] keeps. The answer to its request goes on until its ends have closed.
    pub(super) fn take_upgrade(&self) -> Option<Upgrading> {
        let upgrading = self.upgrading.lock().take();
        if let Some(upgrading) = &upgrading {
            upgrading.exchange.goes_on();
        }
        upgrading
    }

    /// Whether a client that comes as this one did gets as far as a request under `policy` too.
    pub(super) fn would_be_met(&self, policy: &Policy) -> bool {
        let Ok(listener) = policy.listener(&self.of.listener) else {
            return false;
        };
        let shows_enough = match listener.tls.as_ref().map(|tls| tls.mode()) {
            None => true,
            Some(TlsMode::Simple | TlsMode::Optional) => self.tls.is_some(),
            Some(TlsMode::Mutual) => self.of.identity.is_some(),
        };
        shows_enough && matches!(listener.serves, Serving::Http(_))
    }

    /// An answer broke off.
    pub(super) fn broke(&self, refusal: &Refusal) {
        let _ = self.broken.set(refusal.clone());
    }

    /// What an answer broke off for, if one did.
    pub(super) fn broken_by(&self) -> Option<Refusal> {
        self.broken.get().cloned()
    }

    /// The connection is cut off, with all its requests.
    pub(super) fn cut(&self, cause: &Refusal) {
        let _ = self.cause.set(cause.clone());
    }

    /// Why the connection was cut off, if it was.
    pub(super) fn cause(&self) -> Option<Refusal> {
        let cause = self.cause.get().cloned();
        cause.or_else(|| {
            self.data.live.is_cut().then(|| {
                Refusal::new(
                    Reason::DrainDeadline,
                    "the daemon stopped before the request ended",
                )
            })
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("of", &self.of)
            .finish_non_exhaustive()
    }
}

/// What `policy` says of the requests of `listener`; `None` if it takes none any more.
pub(super) fn in_mode_http(policy: &Policy, listener: &str) -> Option<Arc<HttpPolicy>> {
    match &policy.listener(listener).ok()?.serves {
        Serving::Http(http) => Some(Arc::clone(http)),
        _ => None,
    }
}
