//! Where listeners send connections: several endpoints, of which one that answers is chosen.
//!
//! ```text
//! connect: choose (balance) --> dial, TLS --> Connected
//!            ^ retry elsewhere <-- failed     (no byte of the client was sent yet)
//! health: failed --> down --> checked --> up
//! ```
//!
//! Requests of listeners in mode "http" go over connections that are kept, see [`http`].

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use crate::{
    addr::UpstreamAddr,
    config::{self, Address},
    data::DataPath,
    proxy_header::Announced,
    refusal::{Reason, Refusal},
    tls::{Proven, client::Originator},
};

mod balance;
mod dial;
mod endpoint;
mod health;
pub mod http;
mod probe;

use balance::Balancer;
pub use dial::{Connected, Stream, Tls};
use dial::{Originators, Speaks};
pub use endpoint::{Endpoint, UnderWay};

/// How long a start waits for names to be resolved. After that, connections to those that are not
/// are refused until they are.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);

/// One upstream of one generation of policy.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in records and messages.
    pub name: Arc<str>,
    /// Our own identity on the wire; `None` in plain text, or if none is shown.
    pub own: Option<Arc<str>>,
    /// As it is configured.
    pub spec: config::Upstream,
    originators: Option<Originators>,
    http: Arc<http::Pool>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    balancer: Balancer,
}

impl Upstream {
    /// Puts it together; what `before` knew of its endpoints is kept.
    pub(crate) fn new(
        name: Arc<str>,
        spec: config::Upstream,
        own: Option<Arc<str>>,
        originator: Option<Originator>,
        before: Option<&Upstream>,
    ) -> Self {
        let known = before.map(Upstream::endpoints).unwrap_or_default();
        let addresses = spec.addresses.iter();
        let mut endpoints: Vec<_> = addresses
            .filter_map(Address::socket)
            .map(|at| endpoint(&name, &known, at, None))
            .collect();
        // Until they are resolved again.
        if before.is_some_and(|before| before.spec.addresses == spec.addresses) {
            endpoints = known.to_vec();
        }
        Self {
            balancer: Balancer::new(spec.balance),
            name,
            own,
            originators: originator.map(|bytes| Originators::new(bytes, spec.http)),
            http: Arc::default(),
            spec,
            endpoints: ArcSwap::from_pointee(endpoints),
        }
    }

    /// Its endpoints at the moment, up or down.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Connects to an endpoint that answers. Nothing of the client is sent, so that the next one is
    /// tried if one fails.
    ///
    /// # Errors
    /// [`Reason::UpstreamDown`] at once if none is up, else what the last one failed with.
    pub async fn connect(
        &self,
        data: &DataPath,
        client: &Announced<'_>,
    ) -> Result<Connected, Refusal> {
        let endpoints = self.endpoints.load_full();
        let mut tried = Vec::new();
        let mut last = None;
        while tried.len() <= self.spec.retries as usize {
            let Some(endpoint) = self.balancer.choose(&endpoints, &tried) else {
                break;
            };
            let dialled = self.dial(data, &endpoint, Some(client), Speaks::Bytes);
            match dialled.await {
                Ok(connected) => {
                    endpoint.answered();
                    return Ok(connected);
                }
                // It is this host that is short of something.
                Err(refusal) if is_own(refusal.reason) => return Err(refusal),
                Err(refusal) => {
                    endpoint.failed(&refusal, &self.spec.health);
                    last = Some(refusal);
                }
            }
            tried.push(endpoint);
        }
        Err(last.unwrap_or_else(|| self.down(&endpoints)))
    }

    /// Whether a connection to `at` that was made under another policy may go on.
    ///
    /// # Errors
    /// The one reason why its certificate is not accepted any more.
    pub fn still_accepts(&self, peer: &Proven, at: UpstreamAddr) -> Result<(), Refusal> {
        match &self.originators {
            Some(originators) => originators.of(Speaks::Bytes).still_accepts(peer, at),
            None => Ok(()),
        }
    }

    /// When our own certificate expires, if one is shown.
    fn own_expires(&self) -> Option<SystemTime> {
        self.originators.as_ref()?.of(Speaks::Bytes).own_expires()
    }

    /// Nobody is there to connect to.
    fn down(&self, endpoints: &[Arc<Endpoint>]) -> Refusal {
        let causes: Vec<_> = endpoints
            .iter()
            .filter_map(|endpoint| endpoint.cause())
            .collect();
        let detail = match causes.first() {
            Some(cause) => format!("no endpoint of {} is up: {cause}", self.name),
            None => format!("no name of {} has an address", self.name),
        };
        Refusal::new(Reason::UpstreamDown, detail)
    }

    fn has_names(&self) -> bool {
        self.spec
            .addresses
            .iter()
            .any(|address| address.socket().is_none())
    }

    /// Asks for the addresses of its names; whether all have one. Those of a name that has none at
    /// the moment stay.
    async fn resolve(&self) -> bool {
        let known = self.endpoints();
        let mut found = Vec::new();
        let mut all = true;
        for address in &self.spec.addresses {
            let (host, port) = match address {
                Address::Socket(at) => {
                    found.push((*at, None));
                    continue;
                }
                Address::Name { host, port } => (host, *port),
            };
            match lookup_host((host.as_str(), port)).await {
                Ok(addresses) => {
                    let named: Arc<str> = host.as_str().into();
                    found.extend(addresses.map(|at| (at, Some(Arc::clone(&named)))));
                }
                Err(error) => {
                    all = false;
                    tracing::debug!(upstream = %self.name, host, %error, "resolving");
                }
            }
        }
        if !all {
            found.extend(known.iter().map(|known| (known.at.get(), known.host())));
        }
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(found.len());
        for (at, host) in found {
            let at = UpstreamAddr::new(at);
            if !endpoints.iter().any(|endpoint| endpoint.at == at) {
                endpoints.push(endpoint(&self.name, &known, at.get(), host));
            }
        }
        self.http.keep_only(&endpoints);
        self.endpoints.store(Arc::new(endpoints));
        all
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.http.retire();
    }
}

/// Watches over all `upstreams`, until what is returned is dropped. Names are resolved when this
/// returns, or it was tried for a while.
pub async fn watch(upstreams: Vec<Arc<Upstream>>, data: &Arc<DataPath>) -> JoinSet<()> {
    let mut first = JoinSet::new();
    for upstream in upstreams.iter().filter(|upstream| upstream.has_names()) {
        let upstream = Arc::clone(upstream);
        first.spawn(async move { upstream.resolve().await });
    }
    let resolved = async { while first.join_next().await.is_some() {} };
    let _ = timeout(FIRST_RESOLUTION, resolved).await;
    let mut watched = JoinSet::new();
    for upstream in upstreams {
        watched.spawn(health::watch(upstream, Arc::clone(data)));
    }
    watched
}

/// The one that is known at `at`, or a new one; it is called `host` now.
fn endpoint(
    upstream: &Arc<str>,
    known: &[Arc<Endpoint>],
    at: SocketAddr,
    host: Option<Arc<str>>,
) -> Arc<Endpoint> {
    let at = UpstreamAddr::new(at);
    let found = known.iter().find(|endpoint| endpoint.at == at).cloned();
    let endpoint = found.unwrap_or_else(|| Arc::new(Endpoint::new(Arc::clone(upstream), at)));
    endpoint.is_called(host);
    endpoint
}

/// Whether a failure says nothing of the endpoint.
fn is_own(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Internal | Reason::TooManyHandshakes | Reason::PortsExhausted
    )
}
