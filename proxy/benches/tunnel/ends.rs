//! The two ends of the connection between the hosts, each on a thread of its own with a runtime like
//! those of the daemon's.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use sidetrack::{
    addr::{ClientAddr, OriginalDst, UpstreamAddr},
    certs::{
        authority::{Authority, LeafRequest},
        files::Existing,
        validity::Validity,
    },
    config::{Handshakes, IdentityFiles, TrustFiles, Wire},
    identity::Expected,
    record::ConnectionId,
    refusal::Refusal,
    relay::{Moved, Start, relay},
    tls::{
        client::Originator,
        hello::{FirstBytes, PlainText, first_bytes},
        material::Material,
        server::Terminator,
    },
    tunnel::{
        Admitted, LeaseGuard, LeaseHandler, Open, Opening, Options, Outcome, Patience, Tunnel,
        serve,
    },
};

use super::{Carrier, Case, applications};

/// Seconds of CPU that each end took for the bytes of one connection, its handshake left out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) client: f64,
    pub(crate) server: f64,
}

/// What this thread has used, in user space and in the kernel.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

const LONG: Duration = Duration::from_secs(3600);

fn on_runtime<T>(
    name: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> thread::JoinHandle<T>
where
    T: Send + 'static,
{
    let run = move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .unwrap()
}

fn tokio_of(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both hosts' keys.
fn materials() -> [Material; 2] {
    let validity = || Validity::offset(-3600, 3600).unwrap();
    let authority = Authority::create("benchmark CA", None, validity()).unwrap();
    ["client", "server"].map(|name| {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let request = LeafRequest {
            name: name.into(),
            spiffe: vec![format!("spiffe://example.org/{name}").parse().unwrap()],
            dns: Vec::new(),
            ips: Vec::new(),
            validity: validity(),
        };
        let issued = authority.issue(&request).unwrap();
        issued
            .write(&path("own.crt"), &path("own.key"), Existing::Keep)
            .unwrap();
        std::fs::write(path("ca.crt"), authority.certificate_pem()).unwrap();
        let own = IdentityFiles {
            certificate: path("own.crt"),
            private_key: path("own.key"),
        };
        let trust = TrustFiles {
            bundle: path("ca.crt"),
            crl: None,
        };
        Material::load_files(
            &BTreeMap::from([("own".to_owned(), own)]),
            &BTreeMap::from([("example.org".parse().unwrap(), trust)]),
        )
        .unwrap()
    })
}

fn expected(who: &str) -> Arc<[Expected]> {
    [who.parse().unwrap()].into()
}

/// Carries one connection of the applications.
pub(crate) fn run(case: &Case) -> (f64, Vec<Duration>, Spent) {
    let [client, server] = materials();
    let wire = match case.carrier {
        Carrier::Tunnel => Wire::Tunnel,
        Carrier::Tls => Wire::Tls,
    };
    let server_id = expected("spiffe://example.org/server");
    let originator = Originator::new(
        &client.identities["own"],
        &client.trust,
        server_id,
        wire,
        None,
        &Handshakes::default(),
    )
    .unwrap();
    let client_id = expected("spiffe://example.org/client");
    let terminator =
        Terminator::new(&server.identities["own"], &server.trust, client_id, wire).unwrap();
    let (app, app_address) = listen();
    let (inbound, inbound_address) = listen();
    let (outbound, outbound_address) = listen();
    let case = *case;
    let application = thread::spawn(move || applications::serve(&app, &case));
    let far = on_runtime(
        "server-end",
        server_end(case.carrier, inbound, terminator, app_address),
    );
    let near = on_runtime(
        "client-end",
        client_end(case.carrier, outbound, originator, inbound_address),
    );
    let (seconds, latencies) =
        applications::ask(TcpStream::connect(outbound_address).unwrap(), &case);
    let spent = Spent {
        client: near.join().unwrap(),
        server: far.join().unwrap(),
    };
    application.join().unwrap();
    (seconds, latencies, spent)
}

async fn client_end(
    carrier: Carrier,
    listener: TcpListener,
    originator: Originator,
    to: SocketAddr,
) -> f64 {
    let tcp = tokio::net::TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let originated = originator
        .originate(tcp, UpstreamAddr::new(to))
        .await
        .unwrap();
    let (mut app, from) = tokio_of(listener).accept().await.unwrap();
    app.set_nodelay(true).unwrap();
    let begun = used();
    let mut moved = Moved::default();
    match carrier {
        Carrier::Tls => {
            let mut stream = originated.stream;
            relay(&mut app, &mut stream, Start::default(), None, &mut moved)
                .await
                .unwrap();
        }
        Carrier::Tunnel => {
            let open = Open {
                id: ConnectionId([7; 16]),
                source: ClientAddr::new(from),
                destination: OriginalDst::new(to),
            };
            let tunnel = Tunnel::new(originated.stream);
            let patience = Patience {
                answer: LONG,
                idle: None,
            };
            let end = tunnel
                .lease(&open, app, Opening::default(), patience, &mut moved)
                .await;
            assert!(matches!(end.outcome, Outcome::Clean), "{:?}", end.outcome);
            let spent = used() - begun;
            // A server that cannot deliver says CLOSE after its own end; then there is none.
            if let Some(tunnel) = end.tunnel {
                tunnel.close();
            }
            return spent;
        }
    }
    used() - begun
}

/// What the server's end used when its lease was over.
struct Dialer {
    app: SocketAddr,
    spent: Arc<Mutex<f64>>,
}

struct Guard {
    begun: f64,
    spent: Arc<Mutex<f64>>,
}

impl LeaseGuard for Guard {
    fn ended(self, _: Moved, end: Result<(), Refusal>) {
        end.unwrap();
        *self.spent.lock().unwrap() = used() - self.begun;
    }
}

impl LeaseHandler for Dialer {
    type App = tokio::net::TcpStream;
    type Guard = Guard;

    async fn open(&self, _: Open) -> Result<Admitted<Self::App, Guard>, Refusal> {
        let app = tokio::net::TcpStream::connect(self.app).await.unwrap();
        app.set_nodelay(true).unwrap();
        let guard = Guard {
            begun: used(),
            spent: Arc::clone(&self.spent),
        };
        Ok(Admitted { app, guard })
    }
}

async fn server_end(
    carrier: Carrier,
    listener: TcpListener,
    terminator: Terminator,
    app: SocketAddr,
) -> f64 {
    let (tcp, from) = tokio_of(listener).accept().await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let FirstBytes::Tls(hello) = first_bytes(tcp, PlainText::Refused).await.unwrap() else {
        panic!("plain text");
    };
    let mut stream = terminator.terminate(hello, from).await.unwrap().stream;
    match carrier {
        Carrier::Tls => {
            let mut app = tokio::net::TcpStream::connect(app).await.unwrap();
            app.set_nodelay(true).unwrap();
            let begun = used();
            let mut moved = Moved::default();
            relay(&mut stream, &mut app, Start::default(), None, &mut moved)
                .await
                .unwrap();
            used() - begun
        }
        Carrier::Tunnel => {
            let spent = Arc::default();
            let dialer = Dialer {
                app,
                spent: Arc::clone(&spent),
            };
            let options = Options {
                idle: LONG,
                lease_idle: None,
            };
            serve(stream, &dialer, options, std::future::pending())
                .await
                .unwrap();
            *spent.lock().unwrap()
        }
    }
}
