//! Connections that come to applications of this host.
//!
//! ```text
//! Arrived --route--> Routed --recognise--> plain | mTLS --permit--> dial --> relay
//!                                         tunnel: each OPEN is judged anew, see `lease`
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
    live::Place,
    policy::InboundRoute,
    record::{Carriage, Direction, Record},
    refusal::{Reason, Refusal},
    relay::{Moved, Start, Transport, relay},
    socket::{self, Faces, Guarded},
    tls::hello::{ClientHelloRead, FirstBytes, PlainText, first_bytes},
};

mod dial;
mod lease;
pub mod owners;

/// Accepts connections from outside until `stop` says so.
pub async fn accept(data: Arc<DataPath>, listener: TcpListener, stop: watch::Receiver<bool>) {
    let own = listener.local_addr().ok();
    socket::accept_each(listener, stop.clone(), |stream, peer| {
        let arrived = Arrived {
            data: Arc::clone(&data),
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
    stream: TcpStream,
    peer: SocketAddr,
    /// The listener's own address, to which nothing is steered.
    own: Option<SocketAddr>,
}

/// The rule is known; who is there is not.
struct Routed {
    data: Arc<DataPath>,
    stream: TcpStream,
    peer: SocketAddr,
    local: LocalAddr,
    route: Arc<InboundRoute>,
    /// Generation of the policy that the route is of.
    generation: u32,
}

/// What a connection turned out to be.
enum Kind {
    /// As it is, with what was read of it.
    Plain(TcpStream, Vec<u8>),
    /// TLS to be terminated, for the application alone.
    Mtls(Box<ClientHelloRead>),
    /// TLS to be terminated, a tunnel.
    Tunnel(Box<ClientHelloRead>),
}

/// One connection, from accept to its record. A tunnel has no record of its own once it is
/// established: each of its leases has.
async fn serve(arrived: Arrived, stop: watch::Receiver<bool>) {
    let mut record = Record::begin(&arrived.data.sink, Direction::Inbound, arrived.peer);
    let mut moved = Moved::default();
    let end = match arrived.route(&mut record) {
        Err(refusal) => Err(refusal),
        Ok(routed) => match routed.data.live.enter() {
            Err(mut refusal) => {
                let mut stream = routed.stream;
                stream.abort();
                refusal.detail.push_str("; it was reset");
                Err(refusal)
            }
            Ok(place) => {
                let mut deadline = place.deadline();
                tokio::select! {
                    biased;
                    refusal = deadline.passed() => Err(refusal),
                    end = routed.run(place, &mut record, &mut moved, stop) => end,
                }
            }
        },
    };
    record.bytes_up = moved.up;
    record.bytes_down = moved.down;
    if let Err(refusal) = end {
        record.refuse(refusal);
    }
}

impl Arrived {
    fn route(self, record: &mut Record) -> Result<Routed, Refusal> {
        let Self {
            data,
            mut stream,
            peer,
            own,
        } = self;
        let routed = (|| {
            let local = stream.local_addr().map_err(|error| {
                Refusal::new(
                    Reason::Internal,
                    format!("reading the own address: {error}"),
                )
            })?;
            if Some(local) == own {
                return Err(Refusal::new(
                    Reason::NoOriginalDestination,
                    "the connection was not steered here",
                ));
            }
            let local = LocalAddr::new(local);
            record.destination = Some(OriginalDst::new(local.get()));
            let policy = data.policy.load();
            let route = policy.inbound(local.port())?;
            record.rule = Some(Arc::clone(&route.rule));
            data.owners.check(&route, local)?;
            Ok((local, route, policy.generation))
        })();
        match routed {
            Ok((local, route, generation)) => Ok(Routed {
                data,
                stream,
                peer,
                local,
                route,
                generation,
            }),
            Err(refusal) => {
                stream.abort();
                Err(refusal)
            }
        }
    }
}

impl Routed {
    async fn run(
        self,
        place: Place,
        record: &mut Record,
        moved: &mut Moved,
        stop: watch::Receiver<bool>,
    ) -> Result<(), Refusal> {
        place.describe(record);
        let Self {
            data,
            mut stream,
            peer,
            local,
            route,
            generation,
        } = self;
        if let Err(error) = socket::tune(&stream, Faces::Wire, &data.limits) {
            stream.abort();
            return Err(Refusal::new(
                Reason::Internal,
                format!("setting up the socket: {error}"),
            ));
        }
        let plain = PlainText::of(&route, peer);
        let destination = OriginalDst::new(local.get());
        // Where only plain text comes there is nothing to recognise: the server may speak first.
        let kind = if route.terminates_tls() {
            recognise(&data, &route, stream, plain).await?
        } else {
            Kind::Plain(stream, Vec::new())
        };
        match kind {
            Kind::Plain(stream, prefix) => {
                let mut client = Guarded::new(stream);
                let permit = route.permit_plain(peer, destination)?;
                record.carriage = Carriage::Plain;
                let mut app = dial::dial(&data, &route, &permit).await?;
                place.describe(record);
                client.begin_relay();
                let start = Start {
                    to_b: prefix,
                    to_a: Vec::new(),
                };
                relay(&mut client, &mut app, start, data.limits.idle, moved).await
            }
            Kind::Mtls(hello) => {
                record.own_identity = route.own.clone();
                let terminator = route.mtls.as_ref().ok_or_else(not_accepted)?;
                let terminated = {
                    let _place = data.begin_handshake().await?;
                    data.within_handshake(Box::pin(terminator.terminate(hello, peer)))
                        .await?
                };
                record.peer_identity = Some(terminated.peer.to_string().into());
                record.tls = Some(terminated.facts);
                record.carriage = Carriage::Tls;
                let permit = route.permit_mtls(&terminated.peer, peer, destination);
                let mut client = terminated.stream;
                let mut app = match dial::dial(&data, &route, &permit).await {
                    Ok(app) => app,
                    Err(refusal) => {
                        client.abort();
                        return Err(refusal);
                    }
                };
                place.describe(record);
                relay(
                    &mut client,
                    &mut app,
                    Start::default(),
                    data.limits.idle,
                    moved,
                )
                .await
            }
            Kind::Tunnel(hello) => {
                record.own_identity = route.own.clone();
                let terminator = route.tunnel.as_ref().ok_or_else(not_accepted)?;
                let terminated = {
                    let _place = data.begin_handshake().await?;
                    data.within_handshake(Box::pin(terminator.terminate(hello, peer)))
                        .await?
                };
                record.established_tunnel();
                // The tunnel is not a connection of an application: its leases are.
                drop(place);
                lease::serve(data, terminated, generation, (local, peer), stop).await;
                Ok(())
            }
        }
    }
}

async fn recognise(
    data: &DataPath,
    route: &InboundRoute,
    stream: TcpStream,
    plain: PlainText,
) -> Result<Kind, Refusal> {
    let first = Box::pin(first_bytes(stream, plain));
    match data.within_handshake(first).await? {
        FirstBytes::Plain { tcp, prefix } => Ok(Kind::Plain(tcp, prefix)),
        FirstBytes::Tls(hello) if hello.offers_tunnel() && route.tunnel.is_some() => {
            Ok(Kind::Tunnel(hello))
        }
        FirstBytes::Tls(hello) if route.mtls.is_some() && !hello.offers_tunnel() => {
            Ok(Kind::Mtls(hello))
        }
        // The application's own TLS.
        FirstBytes::Tls(hello) if plain != PlainText::Refused => {
            let ClientHelloRead { tcp, raw, .. } = *hello;
            Ok(Kind::Plain(tcp, raw))
        }
        FirstBytes::Tls(hello) => {
            let mut tcp = hello.tcp;
            tcp.abort();
            Err(not_accepted())
        }
    }
}

fn not_accepted() -> Refusal {
    Refusal::new(
        Reason::ProtocolNotAccepted,
        "the client spoke TLS of a kind that the rule's accept does not list",
    )
}

impl PlainText {
    fn of(route: &InboundRoute, peer: SocketAddr) -> Self {
        if route.accepts_plain_from(peer) {
            Self::Accepted {
                detect: route.detect,
            }
        } else {
            Self::Refused
        }
    }
}
