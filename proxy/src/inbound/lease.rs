//! Tunnels from peers: each OPEN is a connection of its own, judged anew. By which rules, says the
//! [`Door`] that it came to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::watch, time::sleep};
use tokio_rustls::server::TlsStream;

use super::{dial, inward::Inward};
use crate::{
    addr::{ClientAddr, LocalAddr, OriginalDst},
    data::DataPath,
    gateway,
    identity::PeerIdentity,
    kernel::hop,
    live::{Live, Place, TunnelPlace},
    policy::{Policy, again::LiveLease},
    record::{Carriage, Direction, Record, TlsFacts},
    refusal::{Reason, Refusal},
    relay::Moved,
    tls::{
        Proven,
        server::{Terminated, Terminator},
    },
    tunnel::{Admitted, LeaseGuard, LeaseHandler, Open, Options, serve as serve_leases},
};

/// What a tunnel leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The application at the address that the tunnel was made to.
    Application,
    /// What this host is the gateway to.
    Gateway,
}

/// One tunnel's peer, as each of its leases is judged by it.
pub(crate) struct Peer {
    pub(crate) data: Arc<DataPath>,
    inward: Arc<Inward>,
    door: Door,
    /// Who it is, for a policy that comes after too.
    proven: Proven,
    label: Arc<str>,
    facts: TlsFacts,
    local: LocalAddr,
    from: SocketAddr,
    /// Generation of the policy that judged it.
    generation: u32,
    leases: AtomicU64,
    running: Arc<Running>,
}

/// The lease that is on a tunnel, for a policy that comes while it is.
#[derive(Default)]
struct Running {
    asked: Mutex<Option<(ClientAddr, OriginalDst)>>,
    refused: OnceLock<Refusal>,
}

/// The record of one lease, and its place among the live connections.
pub(crate) struct Lease {
    record: Record,
    running: Arc<Running>,
    _place: Place,
}

/// Serves a tunnel until either end closes it, in a task of its own: the one that shook hands holds
/// several times what a tunnel needs.
pub(crate) fn begin(
    door: Door,
    (data, inward): (Arc<DataPath>, Arc<Inward>),
    terminated: Box<Terminated>,
    generation: u32,
    (local, from): (LocalAddr, SocketAddr),
    place: TunnelPlace,
    stop: watch::Receiver<bool>,
) {
    let Terminated {
        stream,
        peer,
        facts,
    } = *terminated;
    // It has a kilobyte of its own, and each future through which it goes would have it too.
    let stream = Box::new(stream);
    let label: Arc<str> = peer.to_string().into();
    let handler = Peer {
        data,
        inward,
        door,
        proven: peer,
        label,
        facts,
        local,
        from,
        generation,
        leases: AtomicU64::new(0),
        running: Arc::default(),
    };
    tokio::spawn(serve(stream, handler, place, stop));
}

async fn serve(
    stream: Box<TlsStream<TcpStream>>,
    handler: Peer,
    place: TunnelPlace,
    mut stop: watch::Receiver<bool>,
) {
    let data = &handler.data;
    let options = Options {
        // Longer than the client keeps it, so that it is the client that closes: then no OPEN
        // meets a CLOSE.
        idle: data.limits.tunnel_idle * 2,
        lease_idle: data.limits.idle,
    };
    let mut cut = data.live.deadline();
    let mut reloaded = data.reloaded.subscribe();
    // CLOSE goes out before the certificate expires, so that the client moves on to a tunnel
    // that is judged by the next one; and after a reload, so that both ends prove themselves
    // anew, with the certificates and under the policy of now.
    let valid = handler
        .proven
        .identity
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let stopped = async {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            _ = reloaded.wait_for(|current| *current != handler.generation) => {}
            () = sleep(valid) => {}
            () = handler.inward.namespace.ended() => {}
        }
    };
    let end = tokio::select! {
        biased;
        _ = cut.passed() => return,
        end = serve_leases(stream, &handler, options, stopped) => end,
        refusal = handler.refused_by_reload() => Err(refusal),
        refusal = handler.cut_off() => Err(refusal),
    };
    if let Err(refusal) = end {
        tracing::info!(peer = %handler.label, from = %handler.from, %refusal, "a tunnel ended");
    }
    drop(place);
}

impl Peer {
    async fn admit(&self, open: &Open, record: &mut Record) -> Result<(TcpStream, Place), Refusal> {
        let place = self.data.live.enter_lease()?;
        let app = match self.door {
            Door::Application => self.reach_application(open, record).await?,
            Door::Gateway => gateway::reach(self, open, record).await?,
        };
        place.describe(record);
        Ok((app, place))
    }

    async fn reach_application(
        &self,
        open: &Open,
        record: &mut Record,
    ) -> Result<TcpStream, Refusal> {
        // The policy of now: a tunnel may be older than the last reload.
        let policy = self.data.policy.load_full();
        let route = self.inward.route(&policy, self.local.port())?;
        record.rule = Some(Arc::clone(&route.rule));
        record.own_identity = route.own.clone();
        let terminator = route.tunnel.as_ref().ok_or_else(super::not_accepted)?;
        self.judge(&policy, terminator)?;
        let permit = route.permit_open(
            &self.proven.identity,
            (self.local, self.from),
            (open.source, open.destination),
            self.is_own(),
        )?;
        record.source = permit.client();
        self.inward
            .owners
            .check(&policy, &route, self.local)
            .await?;
        dial::dial(&self.data, &self.inward, &route, &permit).await
    }

    /// Resolves once a reload refuses the lease that is on the tunnel. It takes no other after one.
    async fn refused_by_reload(&self) -> Refusal {
        let mut reloads = self.data.reloads(self.generation);
        let judge = |policy: &Policy| {
            let Some((source, destination)) = *self.running.asked.lock() else {
                return Ok(());
            };
            let lease = LiveLease {
                peer: &self.proven,
                local: self.local,
                from: self.from,
                source,
                destination,
            };
            match self.door {
                Door::Application => policy.lease_again(&lease, self.is_own()),
                Door::Gateway => policy.egress_again(&lease, self.is_own()),
            }
        };
        let refusal = reloads.refused(judge).await;
        // The lease is dropped next, with the tunnel, which resets both.
        let _ = self.running.refused.set(refusal.clone());
        refusal
    }

    /// Resolves when its network namespace has ended and the drain is over.
    async fn cut_off(&self) -> Refusal {
        let refusal = self.inward.namespace.cut_off().await;
        let _ = self.running.refused.set(refusal.clone());
        refusal
    }

    /// Judges the peer by the policy of now.
    pub(crate) fn judge(&self, policy: &Policy, terminator: &Terminator) -> Result<(), Refusal> {
        if policy.generation == self.generation {
            terminator.admit(&self.proven, self.from)
        } else {
            terminator.judge_again(&self.proven, self.from)
        }
    }

    /// Who it proved to be, and from where.
    pub(crate) fn who(&self) -> (&PeerIdentity, SocketAddr) {
        (&self.proven.identity, self.from)
    }

    /// Whether an address is this host's. The kernel is asked, whose routes hold more than the list;
    /// but not of the tunnel's far end, which nearly all claims name: it came from outside.
    pub(crate) fn is_own(&self) -> impl Fn(IpAddr) -> bool {
        let own = self.inward.own_addresses.load();
        let far = self.from.ip().to_canonical();
        move |ip| {
            let may_be = ip != far;
            own.contains(&ip) || hop::is_source(ip) || may_be && self.inward.leads_here(ip)
        }
    }
}

impl LeaseHandler for Peer {
    type App = TcpStream;
    type Guard = Lease;

    async fn open(&self, open: Open) -> Result<Admitted<TcpStream, Lease>, Refusal> {
        // Until policy has believed its claim, the source is the peer itself.
        let (direction, destination) = match self.door {
            Door::Application => (Direction::Inbound, OriginalDst::new(self.local.get())),
            Door::Gateway => (Direction::Egress, open.destination),
        };
        let mut record = Record::begin(&self.data.sink, direction, self.from);
        let before = self.leases.fetch_add(1, Ordering::Relaxed);
        record.id = open.id;
        record.netns = self.inward.namespace.other();
        record.destination = Some(destination);
        record.peer_identity = Some(Arc::clone(&self.label));
        record.tls = Some(self.facts.clone());
        record.carriage = if before == 0 {
            Carriage::TunnelNew
        } else {
            Carriage::TunnelReused
        };
        // Before it is judged, so that no reload comes between.
        *self.running.asked.lock() = Some((open.source, open.destination));
        // Dropped while it dials: the client gave the lease up, or the tunnel broke.
        let mut dropped = Unless {
            live: self.data.live.clone(),
            running: Arc::clone(&self.running),
            record: Some(record),
        };
        let Some(record) = dropped.record.as_mut() else {
            return Err(Refusal::new(Reason::Internal, "a record was taken twice"));
        };
        match self.admit(&open, record).await {
            Ok((app, place)) => match dropped.record.take() {
                Some(record) => Ok(Admitted {
                    app,
                    guard: Lease {
                        record,
                        running: Arc::clone(&self.running),
                        _place: place,
                    },
                }),
                None => Err(Refusal::new(Reason::Internal, "a record was taken twice")),
            },
            Err(refusal) => {
                self.running.ended();
                record.refuse(refusal.clone());
                Err(refusal)
            }
        }
    }
}

impl Running {
    fn ended(&self) {
        *self.asked.lock() = None;
    }
}

/// A record whose connection was given up before it was decided.
struct Unless {
    live: Live,
    running: Arc<Running>,
    record: Option<Record>,
}

impl Drop for Unless {
    fn drop(&mut self) {
        // Cut off by the daemon, the record says that by itself.
        if let Some(record) = &mut self.record
            && !self.live.is_cut()
        {
            let given_up = || {
                Refusal::new(
                    Reason::Reset,
                    "the client gave up before the application was reached",
                )
            };
            self.running.ended();
            record.refuse(self.running.refused.get().cloned().unwrap_or_else(given_up));
        }
    }
}

impl LeaseGuard for Lease {
    fn ended(self, moved: Moved, end: Result<(), Refusal>) {
        self.running.ended();
        let end = match self.running.refused.get() {
            Some(refusal) => Err(refusal.clone()),
            None => end,
        };
        self.record.end(moved, end);
    }
}
