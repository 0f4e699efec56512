//! Tunnels from peers: each OPEN is a connection of its own, judged anew. By which rules, says the
//! [`Door`] that it came to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use rustls_pki_types::CertificateDer;
use tokio::{net::TcpStream, sync::watch, time::sleep};

use super::dial;
use crate::{
    addr::{LocalAddr, OriginalDst},
    data::DataPath,
    gateway,
    identity::PeerIdentity,
    kernel::hop,
    live::{Live, Place},
    policy::Policy,
    record::{Carriage, Direction, Record, TlsFacts},
    refusal::{Reason, Refusal},
    relay::Moved,
    tls::server::{Terminated, Terminator},
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
    door: Door,
    identity: PeerIdentity,
    label: Arc<str>,
    facts: TlsFacts,
    local: LocalAddr,
    from: SocketAddr,
    /// The certificates that it showed, for a policy that comes after.
    chain: Vec<CertificateDer<'static>>,
    /// Generation of the policy that judged them.
    generation: u32,
    leases: AtomicU64,
}

/// The record of one lease, and its place among the live connections.
pub(crate) struct Lease {
    record: Record,
    _place: Place,
}

/// Serves a tunnel until either end closes it.
pub(crate) async fn serve(
    door: Door,
    data: Arc<DataPath>,
    terminated: Terminated,
    generation: u32,
    (local, from): (LocalAddr, SocketAddr),
    mut stop: watch::Receiver<bool>,
) {
    let Terminated {
        stream,
        peer,
        facts,
    } = terminated;
    let label: Arc<str> = peer.to_string().into();
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = certificates
        .iter()
        .cloned()
        .map(CertificateDer::into_owned)
        .collect();
    let options = Options {
        // Longer than the client keeps it, so that it is the client that closes: then no OPEN
        // meets a CLOSE.
        idle: data.limits.tunnel_idle * 2,
        lease_idle: data.limits.idle,
    };
    let mut cut = data.live.deadline();
    let mut reloaded = data.reloaded.subscribe();
    let handler = Peer {
        data,
        door,
        identity: peer,
        label,
        facts,
        local,
        from,
        chain,
        generation,
        leases: AtomicU64::new(0),
    };
    // CLOSE goes out before the certificate expires, so that the client moves on to a tunnel
    // that is judged by the next one; and after a reload, so that both ends prove themselves
    // anew, with the certificates and under the policy of now.
    let valid = handler
        .identity
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let stopped = async {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            _ = reloaded.wait_for(|current| *current != generation) => {}
            () = sleep(valid) => {}
        }
    };
    let end = tokio::select! {
        biased;
        _ = cut.passed() => return,
        end = serve_leases(stream, &handler, options, stopped) => end,
    };
    if let Err(refusal) = end {
        tracing::info!(peer = %handler.label, %from, %refusal, "a tunnel ended");
    }
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
        let route = policy.inbound(self.local.port())?;
        record.rule = Some(Arc::clone(&route.rule));
        record.own_identity = route.own.clone();
        let terminator = route.tunnel.as_ref().ok_or_else(super::not_accepted)?;
        self.judge(&policy, terminator)?;
        let permit = route.permit_open(
            &self.identity,
            (self.local, self.from),
            (open.source, open.destination),
            self.own_addresses(),
        )?;
        record.source = permit.client();
        self.data.owners.check(&policy, &route, self.local).await?;
        dial::dial(&self.data, &route, &permit).await
    }

    /// Judges the peer by the policy of now.
    pub(crate) fn judge(&self, policy: &Policy, terminator: &Terminator) -> Result<(), Refusal> {
        if policy.generation == self.generation {
            terminator.admit(&self.identity, self.from)
        } else {
            terminator.judge_again(&self.chain, self.from).map(|_| ())
        }
    }

    /// Who it proved to be, and from where.
    pub(crate) fn who(&self) -> (&PeerIdentity, SocketAddr) {
        (&self.identity, self.from)
    }

    /// Whether an address is this host's.
    pub(crate) fn own_addresses(&self) -> impl Fn(IpAddr) -> bool {
        let own = self.data.own_addresses.load();
        move |ip| own.contains(&ip) || hop::is_source(ip)
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
        record.destination = Some(destination);
        record.peer_identity = Some(Arc::clone(&self.label));
        record.tls = Some(self.facts.clone());
        record.carriage = if before == 0 {
            Carriage::TunnelNew
        } else {
            Carriage::TunnelReused
        };
        // Dropped while it dials: the client gave the lease up, or the tunnel broke.
        let mut dropped = Unless {
            live: self.data.live.clone(),
            record: Some(record),
        };
        let Some(record) = dropped.record.as_mut() else {
            return Err(Refusal::new(Reason::Internal, "a record was taken twice"));
        };
        match Box::pin(self.admit(&open, record)).await {
            Ok((app, place)) => match dropped.record.take() {
                Some(record) => Ok(Admitted {
                    app,
                    guard: Lease {
                        record,
                        _place: place,
                    },
                }),
                None => Err(Refusal::new(Reason::Internal, "a record was taken twice")),
            },
            Err(refusal) => {
                record.refuse(refusal.clone());
                Err(refusal)
            }
        }
    }
}

/// A record whose connection was given up before it was decided.
struct Unless {
    live: Live,
    record: Option<Record>,
}

impl Drop for Unless {
    fn drop(&mut self) {
        // Cut off by the daemon, the record says that by itself.
        if let Some(record) = &mut self.record
            && !self.live.is_cut()
        {
            record.refuse(Refusal::new(
                Reason::Reset,
                "the client gave up before the application was reached",
            ));
        }
    }
}

impl LeaseGuard for Lease {
    fn ended(self, moved: Moved, end: Result<(), Refusal>) {
        self.record.end(moved, end);
    }
}
