//! What every connection of the data path uses.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::{
    net::TcpSocket,
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout_at},
};

use crate::{
    canary::Awaited,
    config::Limits,
    inbound::{inward::Inward, owners::Owners},
    kernel::{FlowTable, cgroup::whose::Finder},
    live::{Bounds, Live},
    netns::{Namespace, asked::Asked},
    outbound::upstream::TunnelIo,
    policy::Policy,
    record::RecordSink,
    refusal::{Reason, Refusal},
    tunnel::Pool,
};

/// Connections from outside that have not said who they are, for each of their handshakes that may
/// be in flight: most of them wait for the network, and not for a processor.
const STRANGERS_PER_HANDSHAKE: usize = 4;

/// Shared by all connections of a daemon.
pub struct DataPath {
    /// The kernel, as connections need it.
    pub flows: FlowTable,
    /// The policy in force.
    pub policy: ArcSwap<Policy>,
    /// Idle tunnels to peers.
    pub pool: Pool<TunnelIo>,
    /// Generation of the policy that the last reload switched to: tunnels of peers that were
    /// judged under another are closed.
    pub reloaded: watch::Sender<u32>,
    /// Where records go.
    pub sink: RecordSink,
    /// Connections that are alive.
    pub live: Live,
    /// Bounds.
    pub limits: Limits,
    /// Who listens in the daemon's own network namespace, and its addresses.
    pub inward: Arc<Inward>,
    /// Whose connections those are that the kernel could not tell.
    pub cgroups: Finder,
    /// The canary that is under way.
    pub canary: Awaited,
    /// The daemon's own network namespace.
    pub namespace: Namespace,
    /// Connects in namespaces without listeners.
    pub asked: Asked,
    /// Whether each connecting socket of ours has to be exempted by itself, because this process
    /// has no cgroup of its own.
    exempt_by_socket: bool,
    /// TLS handshakes that were begun.
    pub handshakes: AtomicU64,
    /// Apart from those of peers: strangers who stall do not stop this host's own connections.
    begun: Semaphore,
    answered: Semaphore,
}

/// What a data path is made of.
pub struct Parts {
    /// See [`DataPath::flows`].
    pub flows: FlowTable,
    /// See [`DataPath::policy`].
    pub policy: Arc<Policy>,
    /// See [`DataPath::sink`].
    pub sink: RecordSink,
    /// See [`DataPath::inward`].
    pub owners: Owners,
    /// See [`DataPath::cgroups`].
    pub cgroups: Finder,
    /// See [`DataPath::namespace`].
    pub namespace: Namespace,
    /// Whether this process has no cgroup of its own, by which its connects are known.
    pub exempt_by_socket: bool,
}

impl DataPath {
    /// Puts it together, within the limits of the policy's configuration.
    pub fn new(parts: Parts) -> Self {
        let limits = parts.policy.config.limits.clone();
        Self {
            flows: parts.flows,
            reloaded: watch::channel(parts.policy.generation).0,
            policy: ArcSwap::new(parts.policy),
            pool: Pool::new(crate::tunnel::Limits {
                per_key: limits.idle_tunnels_per_peer,
                total: limits.idle_tunnels,
                idle: limits.tunnel_idle,
            }),
            sink: parts.sink,
            live: Live::new(Bounds {
                strangers: limits.handshakes.saturating_mul(STRANGERS_PER_HANDSHAKE),
                connections: limits.connections,
                tunnels: limits.connections,
            }),
            inward: Arc::new(Inward::new(parts.namespace.clone(), parts.owners)),
            cgroups: parts.cgroups,
            canary: Awaited::default(),
            namespace: parts.namespace,
            asked: Asked::default(),
            exempt_by_socket: parts.exempt_by_socket,
            handshakes: AtomicU64::new(0),
            begun: Semaphore::new(limits.handshakes),
            answered: Semaphore::new(limits.handshakes),
            limits,
        }
    }

    /// A policy of this generation is in force: live connections are judged by it, idle tunnels of
    /// others are closed, and the access record goes to the file that has its name by now.
    pub fn switched_to(&self, generation: u32) {
        self.pool.retain_generation(u64::from(generation));
        self.reloaded.send_replace(generation);
        if let Err(error) = self.sink.reopen() {
            tracing::warn!(%error, "opening the access record's file again; the old one is used on");
        }
    }

    /// The policies that come after the one of `generation`, by which a connection was judged.
    pub fn reloads(&self, generation: u32) -> Reloads<'_> {
        Reloads {
            data: self,
            switched: self.reloaded.subscribe(),
            judged: generation,
        }
    }

    /// Sees to it that what `socket` connects is not redirected, where the proxy's cgroup does not.
    ///
    /// # Errors
    /// [`Reason::Internal`] if the kernel does not take the note.
    pub fn exempt(&self, socket: &TcpSocket) -> Result<(), Refusal> {
        if !self.exempt_by_socket {
            return Ok(());
        }
        let noted = self.flows.exempt(socket);
        noted.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))
    }

    /// When a handshake that begins now has to be over.
    pub fn handshake_deadline(&self) -> HandshakeDeadline {
        HandshakeDeadline {
            at: Instant::now() + self.limits.handshake_timeout,
        }
    }

    /// Waits for a place among the handshakes that this host begins, for as long as a handshake
    /// may take.
    ///
    /// # Errors
    /// [`Reason::TooManyHandshakes`]
    pub async fn begin_handshake(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.handshake(&self.begun, &self.handshake_deadline())
            .await
    }

    /// Waits for a place among the handshakes that peers begin.
    ///
    /// # Errors
    /// [`Reason::TooManyHandshakes`]
    pub async fn answer_handshake(
        &self,
        deadline: &HandshakeDeadline,
    ) -> Result<SemaphorePermit<'_>, Refusal> {
        self.handshake(&self.answered, deadline).await
    }

    async fn handshake<'a>(
        &self,
        places: &'a Semaphore,
        deadline: &HandshakeDeadline,
    ) -> Result<SemaphorePermit<'a>, Refusal> {
        match timeout_at(deadline.at, places.acquire()).await {
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
        self.handshake_deadline().bound(handshake).await
    }
}

/// See [`DataPath::reloads`].
pub struct Reloads<'a> {
    data: &'a DataPath,
    switched: watch::Receiver<u32>,
    judged: u32,
}

impl Reloads<'_> {
    /// The next one.
    pub async fn next(&mut self) -> Arc<Policy> {
        loop {
            // A reload stores the policy, and tells of it when the kernel has taken its part.
            let policy = self.data.policy.load_full();
            if policy.generation != self.judged {
                self.judged = policy.generation;
                return policy;
            }
            if self.switched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves once a policy refuses what those before let in.
    pub async fn refused(&mut self, judge: impl Fn(&Policy) -> Result<(), Refusal>) -> Refusal {
        loop {
            let policy = self.next().await;
            if let Err(refusal) = judge(&policy) {
                return refusal;
            }
        }
    }
}

/// The one bound on everything that a peer does before it has proved who it is.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeDeadline {
    at: Instant,
}

impl HandshakeDeadline {
    /// Bounds a part of it.
    ///
    /// # Errors
    /// [`Reason::HandshakeTimeout`], or what the part ended with.
    pub async fn bound<T>(
        &self,
        part: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        timeout_at(self.at, part).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                Reason::HandshakeTimeout,
                "the peer did not finish its handshake in time (limits.handshake_timeout)",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn first_bytes_and_handshake_have_one_deadline_together() {
        let at = Instant::now() + Duration::from_millis(20);
        let deadline = HandshakeDeadline { at };
        let first = tokio::time::sleep_until(at - Duration::from_millis(1));
        let first = deadline
            .bound(async {
                first.await;
                Ok(())
            })
            .await;
        // A processor that was busy meanwhile makes it late, which is the same deadline too.
        assert!(first.is_ok() || Instant::now() >= at);
        let rest = std::future::pending::<Result<(), Refusal>>();
        let refusal = deadline.bound(rest).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::HandshakeTimeout);
        assert!(
            deadline
                .bound(std::future::pending::<Result<(), _>>())
                .await
                .is_err()
        );
    }
}
