//! What comes without being intercepted.
//!
//! ```text
//! Arrived --PROXY header--> announced --meet--> Met (plain | TLS | TLS of others)
//!         --permit--> tcp: upstream, relay
//!         --permit--> passthrough: upstream by server name, tcp
//!         --permit--> http: requests, see crate::http
//! ```
//!
//! A listener is known by its name: what it does is what the policy of the moment says of it.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    addr::{ClientAddr, LocalAddr, OriginalDst},
    data::{DataPath, Reloads},
    live::{Place, StrangerPlace},
    policy::{
        Policy,
        listener::{ListenerPolicy, Serving},
    },
    proxy_header,
    record::{Carriage, Direction, Record},
    refusal::{Reason, Refusal},
    relay::{Moved, Transport as _},
    socket::{self, Turn},
    tls::{
        Proven, downstream,
        hello::{FirstBytes, PlainText, first_bytes},
    },
};

mod http;
mod passthrough;
mod tcp;

/// Accepts connections to the listener that `name` is at the moment, until `stop` says so.
pub async fn accept(
    data: Arc<DataPath>,
    name: watch::Receiver<Arc<str>>,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
    turn: Turn,
) {
    socket::accept_each(listener, stop, turn, |stream, peer| {
        // All of it before the task runs, so that a drain that begins meanwhile counts it.
        let mut record = Record::begin(&data.sink, Direction::Listener, peer);
        let name = Arc::clone(&name.borrow());
        record.rule = Some(Arc::clone(&name));
        let arrived = Arrived {
            record,
            place: data.live.arrive(),
            data: Arc::clone(&data),
            name,
            stream,
            peer,
        };
        tokio::spawn(arrived.serve());
    })
    .await;
}

/// A connection that was accepted.
struct Arrived {
    data: Arc<DataPath>,
    name: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
    record: Record,
    place: Result<StrangerPlace, Refusal>,
}

/// It is known who is there.
struct Met {
    stream: Client,
    /// What was read of a client's TLS that goes on as it is.
    hello: Option<passthrough::Hello>,
    /// Whom the client proved to be, if it proved anything.
    identity: Option<Arc<Proven>>,
    /// Who the client is, by the PROXY header of who may say so.
    client: SocketAddr,
    /// Our end.
    local: SocketAddr,
}

impl Met {
    /// The common name of the client's certificate.
    fn common_name(&self) -> Option<&str> {
        self.identity.as_ref()?.identity.common_name.as_deref()
    }
}

/// Policy lets it go on.
struct Permitted<'a> {
    data: &'a Arc<DataPath>,
    name: &'a Arc<str>,
    peer: SocketAddr,
    met: Met,
    reloads: Reloads<'a>,
    place: &'a Place,
}

/// How the client speaks.
enum Client {
    Plain(TcpStream),
    Tls(Box<downstream::Met>),
}

impl Arrived {
    async fn serve(self) {
        let Self {
            data,
            name,
            mut stream,
            peer,
            mut record,
            place,
        } = self;
        let mut deadline = data.live.deadline();
        let mut moved = Moved::default();
        let end = match place {
            Err(refusal) => {
                stream.abort();
                Err(refusal)
            }
            Ok(place) => tokio::select! {
                biased;
                refusal = deadline.passed() => Err(refusal),
                end = serve(&data, &name, (stream, peer), place, &mut record, &mut moved) => end,
            },
        };
        record.end(moved, end);
    }
}

async fn serve(
    data: &Arc<DataPath>,
    name: &Arc<str>,
    (stream, peer): (TcpStream, SocketAddr),
    stranger: StrangerPlace,
    record: &mut Record,
    moved: &mut Moved,
) -> Result<(), Refusal> {
    let (mut stream, local) = socket::arrived(stream)?;
    record.destination = Some(OriginalDst::new(local.get()));
    let policy = data.policy.load_full();
    let listener = match policy.listener(name) {
        Ok(listener) => listener,
        Err(refusal) => {
            stream.abort();
            return Err(refusal);
        }
    };
    let reloads = data.reloads(policy.generation);
    drop(policy);
    let met = meet(data, &listener, (stream, local), peer, record).await?;
    let permit = listener.permit(met.identity.as_deref(), met.client)?;
    record.source = permit.client();
    let place = match data.live.enter() {
        Ok(place) => place,
        Err(refusal) => {
            met.stream.abort();
            return Err(refusal);
        }
    };
    drop(stranger);
    place.describe(record);
    let permitted = Permitted {
        data,
        name,
        peer,
        met,
        reloads,
        place: &place,
    };
    match permit.serves() {
        Serving::Tcp(upstream) => permitted.tcp(upstream, record, moved).await,
        Serving::TlsPassthrough(servers) => permitted.passthrough(servers, record, moved).await,
        Serving::Http(http) => permitted.http(http, record, moved).await,
    }
}

impl Permitted<'_> {
    /// Whether a reload lets it go on, as far as the client is concerned.
    fn judge_client(&self) -> impl Fn(&Policy) -> Result<(), Refusal> + use<> {
        let (name, peer) = (Arc::clone(self.name), self.peer);
        let identity = self.met.identity.clone();
        move |policy| policy.listener_again(&name, identity.as_deref(), peer)
    }
}

/// Finds out who is at the other end of `stream`, all of it within one deadline.
async fn meet(
    data: &DataPath,
    listener: &ListenerPolicy,
    (mut stream, local): (TcpStream, LocalAddr),
    peer: SocketAddr,
    record: &mut Record,
) -> Result<Met, Refusal> {
    let local = local.get();
    let deadline = data.handshake_deadline();
    let mut client = peer;
    if listener.announces(peer.ip()) {
        let announced = Box::pin(proxy_header::client(&mut stream, peer));
        client = match deadline.bound(announced).await {
            Ok(client) => client,
            Err(refusal) => {
                stream.abort();
                return Err(refusal);
            }
        };
        record.source = ClientAddr::new(client);
    }
    let Some(tls) = &listener.tls else {
        record.carriage = Carriage::Plain;
        let (stream, hello) = match &listener.serves {
            Serving::TlsPassthrough(_) => {
                let (stream, hello) = passthrough::read(stream, &deadline, record).await?;
                (stream, Some(hello))
            }
            Serving::Tcp(_) | Serving::Http(_) => (stream, None),
        };
        return Ok(Met {
            stream: Client::Plain(stream),
            hello,
            identity: None,
            client,
            local,
        });
    };
    record.own_identity.clone_from(&listener.own);
    let hello = match deadline
        .bound(Box::pin(first_bytes(stream, PlainText::Refused)))
        .await?
    {
        FirstBytes::Tls(hello) => hello,
        FirstBytes::Plain { mut tcp, .. } => {
            tcp.abort();
            return Err(Refusal::new(
                Reason::Plaintext,
                "the listener takes TLS alone",
            ));
        }
    };
    record.server_name = hello.server_name();
    let _place = match data.answer_handshake(&deadline).await {
        Ok(place) => place,
        Err(refusal) => {
            let mut tcp = hello.tcp;
            tcp.abort();
            return Err(refusal);
        }
    };
    let mut met = deadline.bound(Box::pin(tls.meet(hello, peer))).await?;
    record.peer_identity = met.client.as_ref().map(|client| client.to_string().into());
    record.tls = Some(met.facts.clone());
    record.carriage = Carriage::Tls;
    Ok(Met {
        identity: met.client.take().map(Arc::new),
        stream: Client::Tls(Box::new(met)),
        hello: None,
        client,
        local,
    })
}

impl Client {
    /// Has it reset, as who cannot be served is.
    fn abort(self) {
        match self {
            Self::Plain(mut stream) => stream.abort(),
            Self::Tls(mut met) => met.stream.abort(),
        }
    }

    /// Its socket, from which nothing more is read.
    fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(met) => met.stream.into_inner().0,
        }
    }
}
