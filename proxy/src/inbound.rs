//! Connections that come to applications of this host.
//!
//! ```text
//! Arrived --route--> Routed --meet--> plain | mTLS --permit--> dial --> relay
//!                                     tunnel: each OPEN is judged anew, see `lease`
//! ```
//!
//! sk_lookup steered the SYN here, so that the accepted socket's own address is the original
//! destination.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    addr::{LocalAddr, OriginalDst},
    data::DataPath,
    kernel::hop,
    live::StrangerPlace,
    policy::{InboundRoute, Policy, again::Client},
    record::{Carriage, Direction, Record},
    refusal::{Reason, Refusal},
    relay::{Moved, Start, Transport, relay},
    socket::{self, Guarded, Turn},
};

mod dial;
pub mod inward;
pub(crate) mod lease;
pub mod owners;
pub(crate) mod recognise;

use inward::Inward;
use lease::Door;
use recognise::Met;

/// Accepts connections from outside until `stop` says so.
pub async fn accept(
    data: Arc<DataPath>,
    inward: Arc<Inward>,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
    turn: Turn,
) {
    let own = listener.local_addr().ok();
    socket::accept_each(listener, stop.clone(), turn, |stream, peer| {
        // All of it before the task runs, so that a drain that begins meanwhile counts it.
        let mut record = Record::begin(&data.sink, Direction::Inbound, peer);
        record.netns = inward.namespace.other();
        let arrived = Arrived {
            record,
            place: data.live.arrive(),
            data: Arc::clone(&data),
            inward: Arc::clone(&inward),
            stream,
            peer,
            own,
        };
        tokio::spawn(serve(arrived, stop.clone()));
    })
    .await;
}

/// A connection that was accepted; where it was steered from is not known yet.
struct Arrived {
    data: Arc<DataPath>,
    inward: Arc<Inward>,
    stream: TcpStream,
    peer: SocketAddr,
    /// The listener's own address, to which nothing is steered.
    own: Option<SocketAddr>,
    record: Record,
    place: Result<StrangerPlace, Refusal>,
}

/// The rule is known; who is there is not.
struct Routed {
    data: Arc<DataPath>,
    inward: Arc<Inward>,
    stream: TcpStream,
    peer: SocketAddr,
    local: LocalAddr,
    route: Arc<InboundRoute>,
    /// The policy that the route is of.
    policy: Arc<Policy>,
    /// Until it is known who is there.
    place: StrangerPlace,
}

/// One connection, from accept to its record. A tunnel has no record of its own once it is
/// established: each of its leases has.
async fn serve(arrived: Arrived, stop: watch::Receiver<bool>) {
    let mut deadline = arrived.data.live.deadline();
    let namespace = arrived.inward.namespace.clone();
    let mut moved = Moved::default();
    let (mut record, routed) = arrived.route();
    let end = match routed {
        Err(refusal) => Err(refusal),
        Ok(routed) => {
            tokio::select! {
                biased;
                refusal = deadline.passed() => Err(refusal),
                refusal = namespace.cut_off() => Err(refusal),
                end = routed.run(&mut record, &mut moved, stop) => end,
            }
        }
    };
    record.end(moved, end);
}

impl Arrived {
    fn route(self) -> (Record, Result<Routed, Refusal>) {
        let Self {
            data,
            inward,
            stream,
            peer,
            own,
            mut record,
            place,
        } = self;
        let (mut stream, local) = match socket::arrived(stream) {
            Ok(arrived) => arrived,
            Err(refusal) => return (record, Err(refusal)),
        };
        let routed = (|| {
            if Some(local.get()) == own {
                return Err(Refusal::new(
                    Reason::NoOriginalDestination,
                    "the connection was not steered here",
                ));
            }
            if peer.ip() == local.ip() || hop::is_source(peer.ip()) {
                // Nobody outside can have our address: it is our own hop whose note was lost, or
                // this host's traffic on a link-local address, which is not known for local.
                return Err(Refusal::new(
                    Reason::NoOriginalDestination,
                    "the connection is of this host to itself",
                ));
            }
            record.destination = Some(OriginalDst::new(local.get()));
            let policy = data.policy.load_full();
            let route = inward.route(&policy, local.port())?;
            record.rule = Some(Arc::clone(&route.rule));
            // Where there is no place, the record still says who wanted to go where.
            Ok((route, policy, place?))
        })();
        let routed = match routed {
            Ok((route, policy, place)) => Ok(Routed {
                data,
                inward,
                stream,
                peer,
                local,
                route,
                policy,
                place,
            }),
            Err(refusal) => {
                stream.abort();
                Err(refusal)
            }
        };
        (record, routed)
    }
}

impl Routed {
    async fn run(
        self,
        record: &mut Record,
        moved: &mut Moved,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Refusal> {
        let Self {
            data,
            inward,
            stream,
            peer,
            local,
            route,
            policy,
            place: stranger,
        } = self;
        let destination = OriginalDst::new(local.get());
        let mut reloads = data.reloads(policy.generation);
        let idle = data.limits.idle;
        // Each of what follows in memory of its own: a connection has what one of them takes, and not
        // what the largest does.
        let met = Box::pin(recognise::meet(&data, &route, stream, peer, record));
        match met.await? {
            Met::Plain(stream, prefix) => {
                let mut client = Guarded::new(stream);
                let permit = route.permit_plain(peer, destination)?;
                let place = data.live.enter()?;
                drop(stranger);
                place.describe(record);
                inward.owners.check(&policy, &route, local).await?;
                drop(policy);
                record.carriage = Carriage::Plain;
                let mut app = dial::dial(&data, &inward, &route, &permit).await?;
                place.describe(record);
                client.begin_relay();
                let start = Start {
                    to_b: prefix,
                    to_a: Vec::new(),
                };
                let judge =
                    |policy: &Policy| policy.inbound_again(local.port(), peer, Client::Plain);
                tokio::select! {
                    biased;
                    refusal = reloads.refused(judge) => Err(refusal),
                    end = relay(&mut client, &mut app, start, idle, moved) => end,
                }
            }
            Met::Mtls(terminated) => {
                record.peer_identity = Some(terminated.peer.to_string().into());
                record.tls = Some(terminated.facts);
                record.carriage = Carriage::Tls;
                let permit = route.permit_mtls(&terminated.peer.identity, peer, destination);
                let mut client = terminated.stream;
                let reached = async {
                    let place = data.live.enter()?;
                    drop(stranger);
                    place.describe(record);
                    inward.owners.check(&policy, &route, local).await?;
                    drop(policy);
                    let app = dial::dial(&data, &inward, &route, &permit).await?;
                    Ok((app, place))
                };
                let (mut app, place) = match reached.await {
                    Ok(reached) => reached,
                    Err(refusal) => {
                        client.abort();
                        return Err(refusal);
                    }
                };
                let _until_the_end = place;
                let judge = |policy: &Policy| {
                    let client = Client::Mtls(&terminated.peer);
                    policy.inbound_again(local.port(), peer, client)
                };
                tokio::select! {
                    biased;
                    refusal = reloads.refused(judge) => Err(refusal),
                    end = relay(&mut client, &mut app, Start::default(), idle, moved) => end,
                }
            }
            Met::Tunnel(mut terminated) => {
                // Not a connection of an application: its leases are.
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
                drop(policy);
                lease::begin(
                    Door::Application,
                    (data, inward),
                    terminated,
                    generation,
                    (local, peer),
                    place,
                    stop,
                );
                Ok(())
            }
        }
    }
}

pub(crate) fn not_accepted() -> Refusal {
    Refusal::new(
        Reason::ProtocolNotAccepted,
        "the client spoke TLS of a kind that the rule's accept does not list",
    )
}
