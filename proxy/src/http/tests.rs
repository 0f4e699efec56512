//! Connections over real sockets.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Body as _, client::conn::http2, header::CONTENT_LENGTH};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    serve::{Cut, Version, serve},
    session::{self, Session, in_mode_http},
    wire::{Line, Speaks, Wire},
};
use crate::{
    addr::UpstreamAddr,
    config::Config,
    data::{DataPath, Parts},
    inbound::owners::Owners,
    kernel::{FlowTable, cgroup::whose::Finder, rules::Scope},
    netns::Namespace,
    policy::Policy,
    record::{ConnectionId, RecordSink},
    relay::Transport as _,
};

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// A daemon's data path with one listener, whose connections tests make themselves.
pub(super) struct Bed(Arc<DataPath>);

impl Bed {
    /// `route` is what its only route says.
    pub(super) fn new(route: &str) -> Self {
        Self::before("127.0.0.1:1".parse().unwrap(), route)
    }

    fn before(upstream: SocketAddr, route: &str) -> Self {
        let text = format!(
            "version = 1\n[upstream.up]\naddresses = [\"{upstream}\"]\n[[listener]]\nname = \"in\"\n\
             bind = \"127.0.0.1:1\"\nmode = \"http\"\n[[listener.route]]\nname = \"only\"\n{route}\n"
        );
        let config = Config::parse(&text, Path::new("/nonexistent/sidetrack.toml"))
            .unwrap_or_else(|errors| panic!("{errors}"));
        let policy = Policy::build(config, Scope::Selections, 1, None).unwrap();
        let namespace = Namespace::own(0).unwrap();
        Self(Arc::new(DataPath::new(Parts {
            flows: FlowTable::of_nothing(),
            policy: Arc::new(policy),
            sink: RecordSink::off(),
            owners: Owners::new(namespace.clone(), "".into()),
            cgroups: Finder::new("".into()),
            namespace,
            exempt_by_socket: false,
        })))
    }

    pub(super) fn session(&self) -> Arc<Session> {
        let client = "192.0.2.7:4000".parse().unwrap();
        let of = session::Client {
            id: ConnectionId::random(),
            listener: "in".into(),
            own: None,
            client,
            peer: client,
            local: "192.0.2.1:80".parse().unwrap(),
            identity: None,
        };
        let http = in_mode_http(&self.0.policy.load(), "in").unwrap();
        Arc::new(Session::new(&self.0, of, None, http))
    }

    /// A client's end, and how its connection ends.
    async fn client(
        &self,
        session: Arc<Session>,
        version: Version,
    ) -> (TcpStream, JoinHandle<Result<(), Cut>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, arrived) = tokio::join!(client, listener.accept());
        let data = Arc::clone(&self.0);
        let served = tokio::spawn(async move {
            let line = Arc::new(Line::default());
            let stream = Speaks::Plain(arrived.unwrap().0);
            let wire = Wire::new(stream, Bytes::new(), Arc::clone(&line));
            let mut reloads = data.reloads(1);
            let on = (wire, &*line, version);
            serve(&session, on, &mut reloads, |_| Ok(())).await
        });
        (client.unwrap(), served)
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_it_becomes_another_protocol_is_let_go() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bed = Bed::before(upstream.local_addr().unwrap(), "upstream = \"up\"");
    let session = bed.session();
    let left = Arc::downgrade(&session);
    let (mut client, served) = bed.client(session, Version::One).await;
    let asks = "Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    // With a byte more than a head, nobody looks whether the client is still there.
    let head = format!("GET / HTTP/1.1\r\n{asks}+");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut server, _) = timeout(SOON, upstream.accept()).await.unwrap().unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        assert_ne!(server.read_buf(&mut asked).await.unwrap(), 0);
    }
    client.abort();
    drop(client);
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{asks}");
    server.write_all(answer.as_bytes()).await.unwrap();
    let end = timeout(SOON, served).await.unwrap().unwrap();
    assert!(end.is_err(), "it has not broken");
    let gone = timeout(SOON, async {
        while left.upgrade().is_some() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    gone.await.expect("its session is never let go");
}

#[tokio::test]
async fn what_head_asks_for_in_http_2_has_its_length_and_no_data() {
    let bed = Bed::new("prefix = \"/there\"\nanswer = { status = 200, body = \"text\" }");
    let (client, _served) = bed.client(bed.session(), Version::Two).await;
    let hands = http2::handshake(TokioExecutor::new(), TokioIo::new(client));
    let (mut sender, connection) = hands.await.unwrap();
    tokio::spawn(connection);
    for (path, status, length) in [("there", 200, "4"), ("nowhere", 404, "9")] {
        let request = Request::head(format!("http://x/{path}"));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = timeout(SOON, sender.send_request(request)).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()[CONTENT_LENGTH], length);
        assert!(answer.body().is_end_stream(), "data follows");
        answer.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_listens_to_an_answer_has_not_stalled() {
    let session = Bed::new("answer = { status = 204 }").session();
    let exchange = session.begin(&Request::new(()));
    exchange.up.waits(true);
    assert!(!exchange.has_stalled(false), "not long enough");
    assert!(exchange.has_stalled(false));
    let server: SocketAddr = "192.0.2.1:80".parse().unwrap();
    exchange.is_behind(UpstreamAddr::new(server), None);
    assert!(!exchange.has_stalled(false));
    exchange.down.moved(1, true);
    assert!(!exchange.has_stalled(false), "not long enough");
    assert!(exchange.has_stalled(false), "it does not listen");
}
