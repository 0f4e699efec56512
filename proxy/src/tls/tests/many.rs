//! A listener with very many certificates.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    config::{Config, ListenerTls, TlsMode, TlsVersion},
    tls::{certificates::Certificates, downstream::Downstream},
};

const COUNT: usize = 10_000;

fn name(index: usize) -> String {
    format!("n{index}.example.org")
}

/// `COUNT` certificates, each with its own name and key, in a folder.
fn folder(ca: &Authority) -> TempDir {
    let dir = TempDir::new().unwrap();
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for first in 0..threads {
            let dir = dir.path();
            scope.spawn(move || {
                for index in (first..COUNT).step_by(threads) {
                    let mut request = leaf("spiffe://example.org/many", -HOUR, HOUR);
                    request.spiffe.clear();
                    request.dns = vec![name(index)];
                    let at = |end| dir.join(format!("{index}.{end}"));
                    let issued = ca.issue(&request).unwrap();
                    issued
                        .write(&at("crt"), &at("key"), Existing::Keep)
                        .unwrap();
                }
            });
        }
    });
    dir
}

#[tokio::test]
#[ignore = "makes ten thousand certificates: run by cargo xtask test"]
async fn each_of_ten_thousand_names_is_answered_with_its_own_certificate() {
    let ca = authority();
    let dir = folder(&ca);
    let text = format!(
        "version = 1\n[upstream.app]\naddresses = [\"127.0.0.1:1\"]\n[[listener]]\nname = \"many\"\nbind \
         = \"127.0.0.1:2\"\nmode = \"tcp\"\nupstream = \"app\"\ntls = {{ mode = \"simple\", certificates \
         = {:?} }}\n",
        dir.path()
    );
    let config = Config::parse(&text, std::path::Path::new("/test.toml")).unwrap();
    let begun = std::time::Instant::now();
    let material = Material::load(&config).unwrap();
    println!("{COUNT} certificates were read in {:?}", begun.elapsed());
    assert_eq!(material.warnings, [""; 0]);
    let mut shown = material.in_folder(dir.path());
    let certificates = Arc::new(Certificates::new(shown.next().unwrap(), shown));
    for index in 0..COUNT {
        let name = name(index);
        let of = certificates.of(Some(&name));
        assert_eq!(of.names, [name.as_str().into()]);
        assert_eq!(of.name, index.to_string());
    }
    let tls = ListenerTls {
        mode: TlsMode::Simple,
        identities: Vec::new(),
        certificates: Some(dir.path().to_owned()),
        allow: Vec::new(),
        min_version: TlsVersion::V1_3,
    };
    let downstream = Downstream::new(certificates, &material.trust, &tls, &[]).unwrap();
    let mut roots = RootCertStore::empty();
    let pem = ca.certificate_pem();
    let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(crate::tls::provider()))
        .with_protocol_versions(crate::tls::VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = TlsConnector::from(Arc::new(client));
    let (listener, address) = listen().await;
    // A sample over the wire, judged by a client that wants the name that it asked for.
    for index in (0..COUNT).step_by(COUNT / 300) {
        let served = async {
            let (tcp, peer) = listener.accept().await.unwrap();
            let hello = read_hello(tcp).await.unwrap();
            downstream.meet(hello, peer).await.unwrap()
        };
        let asked = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            let name = name(index).try_into().unwrap();
            client.connect(name, tcp).await.unwrap()
        };
        let (_served, asked) = tokio::join!(served, asked);
        let chain = asked.get_ref().1.peer_certificates().unwrap();
        let file = dir.path().join(format!("{index}.crt"));
        assert_eq!(chain[0], CertificateDer::from_pem_file(file).unwrap());
    }
}
