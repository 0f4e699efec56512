//! This host as a gateway: peers connect to others through it.
//!
//! ```text
//! Arrived --recognise, handshake--> tunnel: each OPEN --judge--> connect --> relay
//! ```
//!
//! Nothing is intercepted for it. Peers come to a listener of its own, in tunnels only; each OPEN
//! names where an application of the peer's host wanted to go, and the `[[egress]]` rules decide.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    addr::{OriginalDst, UpstreamAddr},
    data::DataPath,
    inbound::{
        lease::{self, Door, Peer},
        not_accepted, recognise,
    },
    live::StrangerPlace,
    record::{Direction, Record},
    refusal::{Reason, Refusal},
    relay::{Moved, Transport as _},
    socket::{self, Faces, Turn},
    tls::hello::{FirstBytes, PlainText, first_bytes},
    tunnel::Open,
};

/// Accepts peers until `stop` says so.
pub async fn accept(
    data: Arc<DataPath>,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
    turn: Turn,
) {
    socket::accept_each(listener, stop.clone(), turn, |stream, peer| {
        // All of it before the task runs, so that a drain that begins meanwhile counts it.
        let arrived = Arrived {
            record: Record::begin(&data.sink, Direction::Egress, peer),
            place: data.live.arrive(),
            data: Arc::clone(&data),
            stream,
            peer,
        };
        tokio::spawn(arrived.serve(stop.clone()));
    })
    .await;
}

/// A connection that was accepted.
struct Arrived {
    data: Arc<DataPath>,
    stream: TcpStream,
    peer: SocketAddr,
    record: Record,
    place: Result<StrangerPlace, Refusal>,
}

impl Arrived {
    async fn serve(self, stop: watch::Receiver<bool>) {
        let Self {
            data,
            mut stream,
            peer,
            mut record,
            place,
        } = self;
        let mut deadline = data.live.deadline();
        let end = match place {
            Err(refusal) => {
                stream.abort();
                Err(refusal)
            }
            Ok(place) => tokio::select! {
                biased;
                refusal = deadline.passed() => Err(refusal),
                end = meet(&data, stream, peer, place, &mut record, stop) => end,
            },
        };
        record.end(Moved::default(), end);
    }
}

/// From the first bytes to the end of the tunnel, whose leases have records of their own.
async fn meet(
    data: &Arc<DataPath>,
    stream: TcpStream,
    peer: SocketAddr,
    stranger: StrangerPlace,
    record: &mut Record,
    stop: watch::Receiver<bool>,
) -> Result<(), Refusal> {
    let (mut stream, local) = socket::arrived(stream)?;
    record.destination = Some(OriginalDst::new(local.get()));
    let policy = data.policy.load_full();
    let egress = match policy.egress() {
        Ok(egress) => egress,
        Err(refusal) => {
            stream.abort();
            return Err(refusal);
        }
    };
    record.own_identity = Some(Arc::clone(&egress.own));
    let deadline = data.handshake_deadline();
    let first = Box::pin(first_bytes(stream, PlainText::Refused));
    let mut hello = match deadline.bound(first).await? {
        FirstBytes::Tls(hello) => hello,
        FirstBytes::Plain { mut tcp, .. } => {
            tcp.abort();
            return Err(not_accepted());
        }
    };
    if !hello.offers_tunnel() {
        hello.tcp.abort();
        return Err(not_accepted());
    }
    let mut terminated =
        recognise::terminate(data, &egress.terminator, hello, peer, deadline).await?;
    let place = match data.live.enter_tunnel() {
        Ok(place) => place,
        Err(refusal) => {
            terminated.stream.abort();
            return Err(refusal);
        }
    };
    drop(stranger);
    record.is_no_connection();
    let generation = policy.generation;
    drop((policy, egress));
    lease::begin(
        Door::Gateway,
        (Arc::clone(data), Arc::clone(&data.inward)),
        terminated,
        generation,
        (local, peer),
        place,
        stop,
    );
    Ok(())
}

/// Judges one OPEN by the policy of now, and connects to where it wants to go.
pub(crate) async fn reach(
    peer: &Peer,
    open: &Open,
    record: &mut Record,
) -> Result<TcpStream, Refusal> {
    let policy = peer.data.policy.load_full();
    let egress = policy.egress()?;
    record.own_identity = Some(Arc::clone(&egress.own));
    peer.judge(&policy, &egress.terminator)?;
    let (identity, from) = peer.who();
    let judged = egress.rules.judge(
        identity,
        from,
        (open.source, open.destination),
        peer.is_own(),
    );
    record.rule = judged.rule;
    let permit = judged.outcome?;
    drop(policy);
    record.source = permit.client();
    let to = UpstreamAddr::new(permit.destination().get());
    record.upstream = Some(to);
    let data = &peer.data;
    let socket = socket::socket_towards(to, Faces::Wire, &data.limits)?;
    data.exempt(&socket)?;
    let stream = socket::connect(socket, to, &data.limits).await?;
    // An address that has become this host's since the kernel was asked.
    if stream
        .local_addr()
        .is_ok_and(|local| local.ip().to_canonical() == to.ip())
    {
        return Err(Refusal::new(
            Reason::EgressDenied,
            format!("{to} is an address of the gateway itself"),
        ));
    }
    Ok(stream)
}
