//! Real handshakes over loopback, with certificates made on the spot.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{AlertDescription, time_provider::TimeProvider};
use rustls_pki_types::UnixTime;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    client::{Originated, Originator},
    hello::{ClientHelloRead, FirstBytes, PlainText, first_bytes},
    material::Material,
    server::{Terminated, Terminator},
};
use crate::{
    addr::UpstreamAddr,
    certs::{
        authority::{Authority, Issued, LeafRequest},
        files::Existing,
        validity::Validity,
    },
    config::{Group, Handshakes, IdentityFiles, TrustFiles, Wire},
    identity::Expected,
    refusal::{Reason, Refusal},
};

mod handshake;
mod hello;
mod many;
mod openssl;
mod refusals;
mod resumption;

const HOUR: i64 = 3600;

fn authority() -> Authority {
    Authority::create(
        "test CA",
        None,
        Validity::offset(-HOUR, 1000 * HOUR).unwrap(),
    )
    .unwrap()
}

fn leaf(id: &str, from: i64, until: i64) -> LeafRequest {
    LeafRequest {
        name: "leaf".into(),
        spiffe: vec![id.parse().unwrap()],
        dns: vec!["name.example.org".into()],
        ips: vec!["127.0.0.1".parse().unwrap()],
        validity: Validity::offset(from, until).unwrap(),
    }
}

fn client_of(ca: &Authority) -> Issued {
    ca.issue(&leaf("spiffe://example.org/client", -HOUR, HOUR))
        .unwrap()
}

fn server_of(ca: &Authority) -> Issued {
    ca.issue(&leaf("spiffe://example.org/server", -HOUR, HOUR))
        .unwrap()
}

/// One trust domain: its authority and, if wanted, a revocation list.
struct Trusted<'a>(&'a str, &'a Authority, Option<String>);

/// A host's files, loaded as the daemon loads them.
fn host(own: &Issued, trusted: &[Trusted<'_>]) -> Material {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    own.write(&path("own.crt"), &path("own.key"), Existing::Keep)
        .unwrap();
    let identities = BTreeMap::from([(
        "own".to_owned(),
        IdentityFiles {
            certificate: path("own.crt"),
            private_key: path("own.key"),
        },
    )]);
    let trust = trusted
        .iter()
        .map(|Trusted(domain, ca, crl)| {
            let (bundle, list) = (
                path(&format!("{domain}.crt")),
                path(&format!("{domain}.crl")),
            );
            std::fs::write(&bundle, ca.certificate_pem()).unwrap();
            if let Some(crl) = crl {
                std::fs::write(&list, crl).unwrap();
            }
            let crl = crl.is_some().then_some(list);
            (domain.parse().unwrap(), TrustFiles { bundle, crl })
        })
        .collect();
    Material::load_files(&identities, &trust).unwrap()
}

fn expecting(entries: &[&str]) -> Arc<[Expected]> {
    entries.iter().map(|entry| entry.parse().unwrap()).collect()
}

/// A clock that tests set.
#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn now() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(UnixTime::now().as_secs())))
    }

    fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds.unsigned_abs(), Ordering::SeqCst);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::SeqCst);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

fn originator(host: &Material, expect: &[&str], wire: Wire, clock: &Arc<Clock>) -> Originator {
    originator_with(host, expect, (wire, &Handshakes::default()), clock)
}

fn originator_with(
    host: &Material,
    expect: &[&str],
    how: (Wire, &Handshakes),
    clock: &Arc<Clock>,
) -> Originator {
    Originator::with_clock(
        Some(&host.identities["own"]),
        &host.trust,
        expecting(expect),
        how,
        None,
        clock.clone(),
    )
    .unwrap()
}

fn terminator(host: &Material, allow: &[&str], wire: Wire, clock: &Arc<Clock>) -> Terminator {
    Terminator::with_clock(
        &host.identities["own"],
        &host.trust,
        expecting(allow),
        wire,
        clock.clone(),
    )
    .unwrap()
}

/// A listener and its address.
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn read_hello(tcp: TcpStream) -> Result<Box<ClientHelloRead>, Refusal> {
    match first_bytes(tcp, PlainText::Refused).await? {
        FirstBytes::Tls(hello) => Ok(hello),
        FirstBytes::Plain { .. } => panic!("plain text was let through"),
    }
}

/// Accepts one connection as the daemon does, and greets the client.
async fn serve(listener: &TcpListener, terminator: &Terminator) -> Result<Terminated, Refusal> {
    let (tcp, peer) = listener.accept().await.unwrap();
    let mut terminated = terminator.terminate(read_hello(tcp).await?, peer).await?;
    // A client that refuses a resumed session resets: then nobody is left to greet.
    let _ = terminated.stream.write_all(b"x").await;
    let _ = terminated.stream.flush().await;
    Ok(terminated)
}

/// Connects and reads the greeting, which also takes in the ticket.
async fn connect(
    originator: &Originator,
    address: SocketAddr,
) -> Result<(Originated, io::Result<u8>), Refusal> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let mut originated = originator
        .originate(tcp, UpstreamAddr::new(address))
        .await?;
    let greeting = originated.stream.read_u8().await;
    Ok((originated, greeting))
}

type Met = (
    Result<(Originated, io::Result<u8>), Refusal>,
    Result<Terminated, Refusal>,
);

/// One connection between the two. The client's end is dropped as soon as it has an error, as
/// the daemon does.
async fn meet(originator: &Originator, terminator: &Terminator) -> Met {
    let (listener, address) = listen().await;
    let client = async {
        match connect(originator, address).await {
            Ok((originated, Err(error))) => {
                let Originated {
                    stream,
                    peer,
                    facts,
                } = originated;
                // The refused client goes away; its end of the record stays.
                let (tcp, connection) = stream.into_inner();
                drop((tcp, connection));
                Err((error, peer, facts))
            }
            Ok(all) => Ok(Ok(all)),
            Err(refusal) => Ok(Err(refusal)),
        }
    };
    let (client, server) = tokio::join!(client, serve(&listener, terminator));
    let client = match client {
        Ok(outcome) => outcome,
        Err((error, ..)) => Err(crate::tls::alert::refusal_from_io(&error)
            .unwrap_or_else(|| Refusal::new(Reason::Reset, error.to_string()))),
    };
    (client, server)
}

/// The alert that a raw client reads.
async fn alert_read(stream: &mut (impl AsyncRead + Unpin)) -> AlertDescription {
    let error = stream.read_u8().await.unwrap_err();
    alert_of(&error)
}

fn alert_of(error: &io::Error) -> AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error:?}"),
    }
}
