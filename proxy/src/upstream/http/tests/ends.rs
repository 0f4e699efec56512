//! TLS, and what ends with certificates and policies.

use std::{net::SocketAddr, time::SystemTime};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::{server::Server, *};
use crate::{
    certs::{
        authority::{Authority, LeafRequest},
        files::Existing,
        validity::Validity,
    },
    refusal::{Reason, Refusal},
    tls::provider,
};

/// A server in TLS, of whichever version its client and `protocols` have in common.
pub(super) async fn tls(folder: &TempDir, lives: i64, protocols: &[&str]) -> Server {
    let ca = Authority::create("test CA", None, Validity::offset(-60, 3600).unwrap()).unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("ca.crt"), ca.certificate_pem()).unwrap();
    let issued = ca.issue(&LeafRequest {
        name: "leaf".into(),
        spiffe: vec![],
        dns: vec!["app.example.org".into()],
        ips: vec![],
        validity: Validity::offset(-60, lives).unwrap(),
    });
    let (chain, key) = (path("own.crt"), path("own.key"));
    issued.unwrap().write(&chain, &key, Existing::Keep).unwrap();
    let chain = CertificateDer::pem_file_iter(chain).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Server::tls(TlsAcceptor::from(Arc::new(config))).await
}

pub(super) fn upstream(at: SocketAddr) -> String {
    format!(
        "addresses = [\"{at}\"]\nwire = \"tls\"\nexpect = [\"app.example.org\"]\n\
         [trust.\"example.org\"]\nbundle = \"ca.crt\""
    )
}

#[tokio::test]
async fn alpn_settles_on_http_2_and_an_upgrade_goes_by_http_1() {
    let folder = TempDir::new().unwrap();
    let server = tls(&folder, 3600, &["h2", "http/1.1"]).await;
    let bed = Bed::in_folder(&upstream(server.at), folder.path());
    let answer = bed.send(get("/")).await.unwrap();
    let peer = answer.server.clone().unwrap();
    assert_eq!(peer.identity.dns, ["app.example.org"]);
    assert_eq!(answer.facts.as_ref().unwrap().version, "TLSv1.3");
    assert_eq!(answer.response.version(), hyper::Version::HTTP_2);
    assert_eq!(text(answer).await, "1");
    assert!(server.seen.requests.lock()[0].contains("https://app.example.org/"));
    let mut request = get("/switch");
    request
        .headers_mut()
        .insert("upgrade", "echo".parse().unwrap());
    let answer = bed.send(request).await.unwrap();
    assert_eq!(answer.response.status(), 101);
    assert_eq!(bed.get("/").await, "1");
}

#[tokio::test]
async fn alpn_settles_on_http_1_where_the_server_speaks_nothing_else() {
    let folder = TempDir::new().unwrap();
    let server = tls(&folder, 3600, &["http/1.1"]).await;
    let bed = Bed::in_folder(&upstream(server.at), folder.path());
    for _ in 0..2 {
        let answer = bed.send(get("/")).await.unwrap();
        assert_eq!(answer.response.version(), hyper::Version::HTTP_11);
        assert_eq!(text(answer).await, "1");
        bed.until((1, 1)).await;
    }
}

#[tokio::test]
async fn a_connection_is_not_used_after_the_servers_certificate_has_expired() {
    for protocols in [["h2"], ["http/1.1"]] {
        let folder = TempDir::new().unwrap();
        // The handshake has to be done by then, on a busy machine too.
        let server = tls(&folder, 3, &protocols).await;
        let bed = Bed::in_folder(&upstream(server.at), folder.path());
        let answer = bed.send(get("/")).await.unwrap();
        // The second of its end is still good for a handshake.
        let second = Duration::from_secs(1);
        let expires = answer.server.as_ref().unwrap().identity.not_after + second;
        text(answer).await;
        until(
            || SystemTime::now() > expires,
            || "it does not expire".into(),
        )
        .await;
        let failed = bed.send(get("/")).await.unwrap_err();
        assert_eq!(failed.refusal.reason, Reason::CertificateExpired);
    }
}

#[tokio::test]
async fn a_reload_closes_what_is_idle_and_cuts_what_it_refuses() {
    for version in ["1.1", "2"] {
        let server = match version {
            "2" => Server::two(100).await,
            _ => Server::one().await,
        };
        let spec = format!("addresses = [\"{}\"]\nhttp = \"{version}\"", server.at);
        let bed = Bed::new(&spec);
        bed.get("/").await;
        bed.until((1, 1)).await;
        let mut answer = bed.send(get("/endless")).await.unwrap();
        // The same again refuses nothing, and what is idle by then is not used any more.
        bed.reload(&spec);
        bed.until((1, 0)).await;
        answer.response.frame().await.unwrap().unwrap();
        let folder = TempDir::new().unwrap();
        let server = tls(&folder, 3600, &["h2"]).await;
        let policy = policy(&upstream(server.at), folder.path(), 3);
        bed.data.policy.store(Arc::new(policy));
        bed.data.switched_to(3);
        let cut = async {
            loop {
                if let Err(error) = answer.response.frame().await.unwrap() {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        };
        let error = timeout(SOON, cut).await.expect("it goes on");
        let refusal = error.downcast::<Refusal>().unwrap();
        assert_eq!(refusal.reason, Reason::PolicyChanged, "{refusal}");
        bed.until((0, 0)).await;
        let failed = bed.send(get("/")).await.unwrap_err();
        assert_eq!(
            failed.refusal.reason,
            Reason::PolicyChanged,
            "of the old policy"
        );
    }
}

#[tokio::test]
async fn what_is_idle_ends_with_its_upstream() {
    let server = Server::one().await;
    let bed = Bed::to(server.at);
    bed.get("/").await;
    bed.until((1, 1)).await;
    let pool = Arc::clone(&bed.upstream.http);
    bed.data.policy.store(Arc::new(policy(
        "addresses = [\"127.0.0.1:1\"]",
        Path::new("/"),
        2,
    )));
    drop(bed);
    until(|| pool.open() == 0, || "it stays open".into()).await;
}
