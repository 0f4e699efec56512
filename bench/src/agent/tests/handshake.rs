//! Handshakes with a real end of TLS, which wants a certificate of its clients.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, server::WebPkiClientVerifier,
};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Certificate and key for `name`.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// An end of TLS whose clients are of `clients`, and which gives so many tickets.
fn terminator(server: &Authority, clients: &Authority, tickets: usize) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.0.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let (certificate, key) = server.issue("server.example");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    config.send_tls13_tickets = tickets;
    let config = Arc::new(config);
    let (listener, at) = listener();
    thread::spawn(move || {
        workers::serve(listener, move |tcp, _| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, tcp);
            let mut byte = [0];
            if tls.read_exact(&mut byte).is_ok() {
                let _ = tls.write_all(&byte);
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        })
    });
    at
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// A client of `clients` that trusts `servers`.
fn target(folder: &Path, to: SocketAddr, servers: &Authority, clients: &Authority) -> Target {
    let (certificate, key) = clients.issue("client.example");
    Target {
        to,
        tls: Some(Tls {
            server_name: "server.example".into(),
            ca: write(folder, "ca.pem", &servers.0.pem()),
            certificate: write(folder, "client.pem", &certificate.pem()),
            key: write(folder, "client.key", &key.serialize_pem()),
            groups: vec!["X25519".into()],
        }),
    }
}

fn handshakes(resumed: bool) -> Load {
    Load::Handshake {
        resumed,
        connections: 3,
        millis: 50,
    }
}

#[test]
fn handshakes_are_full_or_resumed_as_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let to = terminator(&authority, &authority, 1);
    let target = target(folder.path(), to, &authority, &authority);
    for resumed in [false, true] {
        let sample = handshakes(resumed).run(&target, &mut Kept::default());
        let sample = sample.unwrap();
        assert_eq!((sample.failed, sample.reason), (0, None));
        assert!(sample.done >= 3);
        assert_eq!(sample.latencies.len(), sample.done);
    }
}

#[test]
fn a_handshake_of_another_kind_than_was_asked_for_fails() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let to = terminator(&authority, &authority, 0);
    let target = target(folder.path(), to, &authority, &authority);
    let sample = handshakes(true).run(&target, &mut Kept::default());
    let sample = sample.unwrap();
    assert!(sample.done == 0 && sample.failed > 0);
    let reason = sample.reason.unwrap();
    assert!(
        reason.contains("Some(Full), and Resumed was wanted"),
        "{reason}"
    );
}

#[test]
fn a_handshake_counts_only_when_the_server_has_accepted_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let to = terminator(&authority, &authority, 1);
    let target = target(folder.path(), to, &authority, &Authority::new());
    let sample = handshakes(false).run(&target, &mut Kept::default());
    let sample = sample.unwrap();
    assert!(sample.done == 0 && sample.failed > 0, "{sample:?}");
}

#[test]
fn without_a_word_of_tls_or_with_an_unknown_group_no_handshake_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut target = target(folder.path(), server(), &authority, &authority);
    if let Some(tls) = &mut target.tls {
        tls.groups = vec!["X25518".into()];
    }
    let trouble = handshakes(false).run(&target, &mut Kept::default());
    assert!(trouble.unwrap_err().to_string().contains("X25518"));
    target.tls = None;
    let trouble = handshakes(false).run(&target, &mut Kept::default());
    assert!(trouble.is_err());
}
