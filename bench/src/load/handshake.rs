//! [`Load::Handshake`](super::Load::Handshake).

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use super::{
    Moment,
    dial::Dial,
    exchange::{at_once, closed_loop, together},
    tally::Failed,
};
use crate::{
    Trouble,
    agent::{BYTE, Target, Tls},
    measured::Sample,
};

/// Tickets that a client keeps. Each is used once, and a connection brings one or two.
const TICKETS: usize = 8;

pub(super) fn run(
    target: &Target,
    resumed: bool,
    connections: u32,
    time: Duration,
) -> Result<Sample, Trouble> {
    let Some(tls) = &target.tls else {
        return Err(Trouble::new(
            format!("making handshakes with {}", target.to),
            "nobody said how TLS is spoken there",
        ));
    };
    let dial = Dial::new(target.to);
    let config = configuration(tls)?;
    let name = ServerName::try_from(tls.server_name.clone())
        .map_err(|error| Trouble::new(format!("reading the name `{}`", tls.server_name), error))?;
    let mut clients = Vec::new();
    for _ in 0..at_once(connections)? {
        let mut config = config.clone();
        // A store for each: from a common one, connections would take one another's tickets.
        config.resumption = if resumed {
            Resumption::in_memory_sessions(TICKETS)
        } else {
            Resumption::disabled()
        };
        let client = Handshakes {
            dial: dial.clone(),
            config: Arc::new(config),
            name: name.clone(),
        };
        if resumed {
            client
                .one(HandshakeKind::Full)
                .map_err(|failed| dial.trouble(&failed))?;
        }
        clients.push(client);
    }
    let wanted = if resumed {
        HandshakeKind::Resumed
    } else {
        HandshakeKind::Full
    };
    together(clients, time, |client, tally, until| {
        closed_loop(tally, until, || Ok((client.one(wanted)?, 2)));
    })
}

struct Handshakes {
    dial: Dial,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Handshakes {
    /// One connection, handshake and byte there and back, which must be of the kind that is `wanted`.
    fn one(&self, wanted: HandshakeKind) -> Result<Duration, Failed> {
        let socket = self.dial.socket()?;
        let from = Moment::now();
        self.dial.connect(&socket)?;
        let mut tcp = TcpStream::from(socket);
        let doing = "making a handshake";
        let mut tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| Failed::because(doing, error))?;
        // Before the handshake: so it leaves with the handshake's last message.
        tls.writer()
            .write_all(&BYTE)
            .map_err(Failed::at("sending one byte"))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(Failed::at(doing))?;
        }
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        let mut answer = [0; 16];
        let waiting = "waiting for the first byte after a handshake";
        let got = stream.read(&mut answer).map_err(Failed::at(waiting))?;
        let took = Moment::now().since(from);
        if got == 0 {
            return Err(Failed::ended(waiting));
        }
        // To the end, so that all tickets have come. Not every server says that it closes.
        loop {
            match stream.read(&mut answer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(Failed::at("waiting for the end of a connection")(error)),
            }
        }
        tls.send_close_notify();
        // The server has gone, or goes now.
        let _ = tls.write_tls(&mut tcp);
        match tls.handshake_kind() {
            Some(kind) if kind == wanted => Ok(took),
            other => Err(Failed::because(
                "making a handshake",
                format!("it was {other:?}, and {wanted:?} was wanted"),
            )),
        }
    }
}

fn configuration(tls: &Tls) -> Result<ClientConfig, Trouble> {
    let failed = |error: rustls::Error| Trouble::new("preparing to speak TLS", error);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|error| Trouble::new(reading(&tls.ca), error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| Trouble::new(reading(&tls.key), error))?;
    let provider = CryptoProvider {
        kx_groups: groups(&tls.groups)?,
        ..aws_lc_rs::default_provider()
    };
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&tls.certificate)?, key)
        .map_err(failed)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| Trouble::new(reading(file), error))
}

fn reading(file: &Path) -> String {
    format!("reading {}", file.display())
}

fn groups(names: &[String]) -> Result<Vec<&'static dyn rustls::crypto::SupportedKxGroup>, Trouble> {
    names
        .iter()
        .map(|name| {
            aws_lc_rs::ALL_KX_GROUPS
                .iter()
                .copied()
                .find(|group| format!("{:?}", group.name()).eq_ignore_ascii_case(name))
                .ok_or_else(|| {
                    Trouble::new(
                        format!("offering the group `{name}`"),
                        "this build has none of that name",
                    )
                })
        })
        .collect()
}
