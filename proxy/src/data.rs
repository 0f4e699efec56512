//! What every connection of the data path uses.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    config::Limits,
    inbound::owners::Owners,
    kernel::FlowTable,
    live::Live,
    outbound::upstream::TunnelIo,
    policy::Policy,
    record::RecordSink,
    refusal::{Reason, Refusal},
    tunnel::Pool,
};

/// Shared by all connections of a daemon.
pub struct DataPath {
    /// The kernel, as connections need it.
    pub flows: FlowTable,
    /// The policy in force.
    pub policy: ArcSwap<Policy>,
    /// Idle tunnels to peers.
    pub pool: Pool<TunnelIo>,
    /// Where records go.
    pub sink: RecordSink,
    /// Connections that are alive.
    pub live: Live,
    /// Bounds.
    pub limits: Limits,
    /// Which processes listen.
    pub owners: Owners,
    /// This host's own addresses.
    pub own_addresses: ArcSwap<Vec<IpAddr>>,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Whether each connecting socket of ours has to be exempted by itself, because this process
    /// has no cgroup of its own.
    pub exempt_by_socket: bool,
    /// TLS handshakes that were begun.
    pub handshakes: AtomicU64,
    handshaking: Arc<Semaphore>,
}

/// What a data path is made of.
pub struct Parts {
    /// See [`DataPath::flows`].
    pub flows: FlowTable,
    /// See [`DataPath::policy`].
    pub policy: Arc<Policy>,
    /// See [`DataPath::sink`].
    pub sink: RecordSink,
    /// See [`DataPath::owners`].
    pub owners: Owners,
    /// See [`DataPath::netns`].
    pub netns: u64,
    /// See [`DataPath::exempt_by_socket`].
    pub exempt_by_socket: bool,
}

impl DataPath {
    /// Puts it together, within the limits of the policy's configuration.
    pub fn new(parts: Parts) -> Self {
        let limits = parts.policy.config.limits.clone();
        Self {
            flows: parts.flows,
            policy: ArcSwap::new(parts.policy),
            pool: Pool::new(crate::tunnel::Limits {
                per_key: limits.idle_tunnels_per_peer,
                total: limits.idle_tunnels,
                idle: limits.tunnel_idle,
            }),
            sink: parts.sink,
            live: Live::new(limits.connections),
            owners: parts.owners,
            own_addresses: ArcSwap::default(),
            netns: parts.netns,
            exempt_by_socket: parts.exempt_by_socket,
            handshakes: AtomicU64::new(0),
            handshaking: Arc::new(Semaphore::new(limits.handshakes)),
            limits,
        }
    }

    /// Waits for a place among the handshakes in flight, for as long as a handshake may take.
    ///
    /// # Errors
    /// [`Reason::TooManyHandshakes`]
    pub async fn begin_handshake(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.handshaking).acquire_owned();
        match timeout(self.limits.handshake_timeout, place).await {
            Ok(Ok(permit)) => {
                self.handshakes.fetch_add(1, Ordering::Relaxed);
                Ok(permit)
            }
            Ok(Err(_)) | Err(_) => Err(Refusal::new(
                Reason::TooManyHandshakes,
                format!("{} handshakes were in flight", self.limits.handshakes),
            )),
        }
    }

    /// Bounds a handshake.
    ///
    /// # Errors
    /// [`Reason::HandshakeTimeout`], or what the handshake ended with.
    pub async fn within_handshake<T>(
        &self,
        handshake: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let bound: Duration = self.limits.handshake_timeout;
        timeout(bound, handshake).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                Reason::HandshakeTimeout,
                format!("the peer did not finish its handshake within {bound:?}"),
            ))
        })
    }
}
