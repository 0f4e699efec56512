use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    config::{ListenerTls, TlsMode, TlsVersion},
    tls::{certificates::Certificates, downstream::Downstream, provider},
};

/// `bad` meets a good peer, once as the client and once as the server: each time the good one
/// has `reason` and the bad one reads `alert`.
async fn refused(
    bad: &Issued,
    good_trusts: &[Trusted<'_>],
    ca: &Authority,
    because: [Reason; 2],
    alert: &str,
) {
    let bad = host(bad, &[Trusted("example.org", ca, None)]);
    let clock = Clock::now();
    let [of_client, of_server] = because;

    let good = host(&server_of(ca), good_trusts);
    for wire in [Wire::Tunnel, Wire::Tls] {
        let (client, server) = meet(
            &originator(&bad, &["any"], wire, &clock),
            &terminator(&good, &["spiffe://example.org/client"], wire, &clock),
        )
        .await;
        let server = server.unwrap_err();
        assert_eq!(server.reason, of_client, "{server}");
        let client = client.unwrap_err();
        assert_eq!(client.reason, Reason::HandshakeFailed, "{client}");
        assert!(client.detail.contains(alert), "{client}");
    }

    let good = host(&client_of(ca), good_trusts);
    let (client, server) = meet(
        &originator(
            &good,
            &["spiffe://example.org/client"],
            Wire::Tunnel,
            &clock,
        ),
        &terminator(&bad, &["any"], Wire::Tunnel, &clock),
    )
    .await;
    let client = client.unwrap_err();
    assert_eq!(client.reason, of_server, "{client}");
    let server = server.unwrap_err();
    assert_eq!(server.reason, Reason::HandshakeFailed, "{server}");
    assert!(server.detail.contains(alert), "{server}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_even_if_that_has_the_same_name() {
    let (ca, other) = (authority(), authority());
    let trusts = [Trusted("example.org", &ca, None)];
    refused(
        &client_of(&other),
        &trusts,
        &ca,
        [Reason::UnknownIssuer; 2],
        "unknown_ca",
    )
    .await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = authority();
    let bad = ca
        .issue(&leaf("spiffe://example.org/client", -2 * HOUR, -HOUR))
        .unwrap();
    let trusts = [Trusted("example.org", &ca, None)];
    refused(
        &bad,
        &trusts,
        &ca,
        [Reason::CertificateExpired; 2],
        "certificate_expired",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused() {
    let ca = authority();
    let bad = ca
        .issue(&leaf("spiffe://example.org/client", HOUR, 2 * HOUR))
        .unwrap();
    let trusts = [Trusted("example.org", &ca, None)];
    refused(
        &bad,
        &trusts,
        &ca,
        [Reason::CertificateNotYetValid; 2],
        "certificate_expired",
    )
    .await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let ca = authority();
    let bad = client_of(&ca);
    let list = ca
        .revocation_list([&bad.revocation()], Validity::offset(-HOUR, HOUR).unwrap())
        .unwrap();
    let trusts = [Trusted("example.org", &ca, Some(list))];
    refused(
        &bad,
        &trusts,
        &ca,
        [Reason::CertificateRevoked; 2],
        "certificate_revoked",
    )
    .await;
}

#[tokio::test]
async fn nobody_is_let_in_by_an_expired_revocation_list() {
    let ca = authority();
    let list = ca
        .revocation_list([], Validity::offset(-2 * HOUR, -HOUR).unwrap())
        .unwrap();
    let trusts = [Trusted("example.org", &ca, Some(list))];
    refused(
        &client_of(&ca),
        &trusts,
        &ca,
        [Reason::RevocationUnknown; 2],
        "unknown_ca",
    )
    .await;
}

#[tokio::test]
async fn another_identity_than_the_expected_is_refused() {
    let ca = authority();
    let bad = ca
        .issue(&leaf("spiffe://example.org/else", -HOUR, HOUR))
        .unwrap();
    let trusts = [Trusted("example.org", &ca, None)];
    refused(
        &bad,
        &trusts,
        &ca,
        [Reason::NotAllowed, Reason::WrongIdentity],
        "access_denied",
    )
    .await;
}

#[tokio::test]
async fn an_identity_of_another_trust_domain_needs_that_domains_bundle() {
    let (ca, other) = (authority(), authority());
    let bad = ca
        .issue(&leaf("spiffe://other.example/client", -HOUR, HOUR))
        .unwrap();
    let only = [Trusted("example.org", &ca, None)];
    refused(
        &bad,
        &only,
        &ca,
        [Reason::UnknownTrustDomain; 2],
        "unknown_ca",
    )
    .await;
    let both = [
        Trusted("example.org", &ca, None),
        Trusted("other.example", &other, None),
    ];
    refused(&bad, &both, &ca, [Reason::UnknownIssuer; 2], "unknown_ca").await;
}

/// A client of somebody else, without a certificate.
fn stranger(
    ca: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn stranger_name() -> ServerName<'static> {
    "name.example.org".try_into().unwrap()
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let ca = authority();
    let good = host(&server_of(&ca), &[Trusted("example.org", &ca, None)]);
    let terminator = terminator(&good, &["any"], Wire::Tls, &Clock::now());
    let (listener, address) = listen().await;
    let client = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = stranger(&ca, &[&version::TLS13]);
        let mut stream = connector.connect(stranger_name(), tcp).await.unwrap();
        // Bytes that are under way when the alert is sent must not destroy it.
        stream.write_all(&[0; 4096]).await.unwrap();
        stream.flush().await.unwrap();
        alert_read(&mut stream).await
    };
    let (alert, server) = tokio::join!(client, serve(&listener, &terminator));
    assert_eq!(server.unwrap_err().reason, Reason::NoCertificate);
    assert_eq!(alert, AlertDescription::CertificateRequired);
}

#[tokio::test]
async fn a_client_of_tls_1_2_is_refused() {
    let ca = authority();
    let good = host(&server_of(&ca), &[Trusted("example.org", &ca, None)]);
    let terminator = terminator(&good, &["any"], Wire::Tls, &Clock::now());
    let (listener, address) = listen().await;
    let client = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = stranger(&ca, &[&version::TLS12]);
        alert_of(&connector.connect(stranger_name(), tcp).await.unwrap_err())
    };
    let (alert, server) = tokio::join!(client, serve(&listener, &terminator));
    assert_eq!(server.unwrap_err().reason, Reason::TlsVersion);
    assert_eq!(alert, AlertDescription::ProtocolVersion);
}

#[tokio::test]
async fn a_server_of_tls_1_2_is_refused() {
    let ca = authority();
    let good = host(&client_of(&ca), &[Trusted("example.org", &ca, None)]);
    let originator = originator(&good, &["any"], Wire::Tls, &Clock::now());
    let own = server_of(&ca);
    let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.certificate_pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(own.key_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let (listener, address) = listen().await;
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(tcp).await
    };
    let (client, server) = tokio::join!(connect(&originator, address), server);
    assert_eq!(client.unwrap_err().reason, Reason::TlsVersion);
    server.unwrap_err();
}

#[tokio::test]
async fn a_certificate_that_was_shown_is_judged_also_where_none_is_asked_for_any_more() {
    let (ca, other) = (authority(), authority());
    let clock = Clock::now();
    let trusts = |ca| host(&server_of(&other), &[Trusted("example.org", ca, None)]);
    let client = host(&client_of(&ca), &[Trusted("example.org", &other, None)]);
    let (_, met) = meet(
        &originator(&client, &["any"], Wire::Tls, &clock),
        &terminator(&trusts(&ca), &["any"], Wire::Tls, &clock),
    )
    .await;
    let shown = met.unwrap().peer;
    let tls = ListenerTls {
        mode: TlsMode::Simple,
        identities: Vec::new(),
        certificates: None,
        allow: Vec::new(),
        min_version: TlsVersion::V1_3,
    };
    let by = |trusted| {
        let host = trusts(trusted);
        let own = Arc::new(Certificates::new(Arc::clone(&host.identities["own"]), []));
        let listener = Downstream::new(own, &host.trust, &tls, &[]).unwrap();
        listener.still_accepts(Some(&shown), ([127, 0, 0, 1], 1).into())
    };
    assert!(by(&ca).is_ok());
    assert_eq!(by(&other).unwrap_err().reason, Reason::UnknownIssuer);
}
