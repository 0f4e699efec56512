//! Real sockets and seeded chance, for the tests of the byte loops.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Transport;

/// TCP or TLS, as the test chose.
pub(crate) type Io = Box<dyn Transport>;

impl Transport for Io {
    fn abort(&mut self) {
        (**self).abort();
    }

    fn is_reset(&self) -> bool {
        (**self).is_reset()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(cx)
    }
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a transport")
    }
}

/// Everything in these tests happens within this time or has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test if `future` hangs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hangs")
}

/// What each socket of a pair holds in each direction. Said, since the kernel's own choice grows
/// with the speed of the connection, up to what the machine's administrator allows.
const SOCKET_BUFFER: u32 = 128 << 10;

/// Two ends of a TCP connection over loopback.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let (near, listening) = (bounded_socket(), bounded_socket());
    listening.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listening.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(near.connect(address), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Accepted sockets have the buffers of their listener.
fn bounded_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
    socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
    socket
}

/// Connects pairs of sockets over few listeners: two hundred thousand listeners of their own
/// would use up the ports, and so would a single one.
pub(crate) struct Pairs {
    listeners: Vec<tokio::sync::Mutex<TcpListener>>,
    next: AtomicUsize,
}

impl Pairs {
    pub(crate) async fn new() -> Self {
        let mut listeners = Vec::new();
        for last in 1..=32 {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 7, last], 0)))
                .await
                .unwrap();
            listeners.push(tokio::sync::Mutex::new(listener));
        }
        Self {
            listeners,
            next: AtomicUsize::new(0),
        }
    }

    pub(crate) async fn pair(&self) -> (TcpStream, TcpStream) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.listeners.len();
        let listener = self.listeners[next].lock().await;
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let own = near.local_addr().unwrap();
        // One who was dropped in here left a connection behind.
        let far = loop {
            let (far, from) = listener.accept().await.unwrap();
            if from == own {
                break far;
            }
        };
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        (near, far)
    }
}

/// The same with TLS on top.
pub(crate) async fn tls_pair() -> (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
    let (near, far) = pair().await;
    Identity::new().tls(near, far).await
}

/// Both ends' TLS of one peer with a certificate of its own.
pub(crate) struct Identity {
    client: TlsConnector,
    server: TlsAcceptor,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["peer".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        // As between daemons: a tunnel is reused, not resumed.
        server.send_tls13_tickets = 0;
        let mut client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Self {
            client: Arc::new(client).into(),
            server: Arc::new(server).into(),
        }
    }

    /// A handshake over two ends of a connection.
    pub(crate) async fn tls(
        &self,
        near: TcpStream,
        far: TcpStream,
    ) -> (client::TlsStream<TcpStream>, server::TlsStream<TcpStream>) {
        let name = ServerName::try_from("peer").unwrap();
        let (near, far) = tokio::join!(self.client.connect(name, near), self.server.accept(far));
        (near.unwrap(), far.unwrap())
    }
}

/// `count` times `SIDETRACK_LOAD`, 1 by default.
pub(crate) fn load(count: u64) -> u64 {
    let factor = std::env::var("SIDETRACK_LOAD").map_or(1.0, |text| text.parse().unwrap());
    ((count as f64 * factor) as u64).max(1)
}

/// Closes with a TCP reset.
pub(crate) fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
}

/// Reads to the end; answers the bytes and how the end looked.
pub(crate) async fn drain(socket: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut got = Vec::new();
    let end = soon(socket.read_to_end(&mut got)).await.map(|_| ());
    (got, end)
}

/// Writes until nothing more is taken for a while; answers how much was.
pub(crate) async fn fill(socket: &mut TcpStream) -> usize {
    let block = vec![7; 64 << 10];
    let mut taken = 0;
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(300), socket.write(&block)).await
    {
        taken += count.unwrap();
    }
    taken
}

/// Chance that a seed repeats (xorshift64*).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        (self.next() >> 33) as usize % sides
    }

    /// Bytes that differ from those of any other seed.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Writes `bytes` in pieces of random length.
pub(crate) async fn write_in_pieces<W: tokio::io::AsyncWrite + Unpin>(
    io: &mut W,
    mut bytes: &[u8],
    dice: &mut Dice,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(1 + dice.roll(bytes.len().min(300_000)));
        io.write_all(piece).await?;
        bytes = rest;
        if dice.roll(4) == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
