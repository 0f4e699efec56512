//! The same handshakes with the `openssl` command at the other end.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;

/// `openssl` with an identity of its own, in a folder that holds its files. Ended when dropped.
struct Peer(Child);

impl Peer {
    fn start(dir: &Path, own: &Issued, ca: &Authority, arguments: &str) -> Self {
        let path = |name: &str| dir.join(name);
        own.write(&path("own.crt"), &path("own.key"), Existing::Keep)
            .unwrap();
        std::fs::write(path("ca.crt"), ca.certificate_pem()).unwrap();
        let child = Command::new("openssl")
            .args(arguments.split_whitespace())
            .args("-cert own.crt -key own.key -CAfile ca.crt".split_whitespace())
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed (Debian package openssl)");
        Self(child)
    }

    /// Reads its output up to a line that begins with `text`, and returns the rest of that line.
    fn says(&mut self, text: &str) -> String {
        let output = self.0.stdout.as_mut().unwrap();
        BufReader::with_capacity(1, output)
            .lines()
            .find_map(|line| line.unwrap().strip_prefix(text).map(str::to_owned))
            .unwrap_or_else(|| panic!("openssl did not say {text:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_client_of_openssl_is_known_and_answered() {
    let (ca, dir) = (authority(), TempDir::new().unwrap());
    let good = host(&server_of(&ca), &[Trusted("example.org", &ca, None)]);
    let allow = ["spiffe://example.org/client"];
    let terminator = terminator(&good, &allow, Wire::Tls, &Clock::now());
    let (listener, address) = listen().await;
    let arguments = format!("s_client -connect {address} -verify_return_error -quiet");
    let mut peer = Peer::start(dir.path(), &client_of(&ca), &ca, &arguments);
    let mut terminated = serve(&listener, &terminator).await.unwrap();
    assert_eq!(terminated.peer.to_string(), allow[0]);
    assert_eq!(terminated.facts.version, "TLSv1.3");
    terminated.stream.write_all(b"greeting\n").await.unwrap();
    terminated.stream.shutdown().await.unwrap();
    let says = tokio::task::spawn_blocking(move || peer.says("xgreeting"));
    assert_eq!(says.await.unwrap(), "");
}

#[tokio::test]
async fn a_server_of_openssl_is_known_and_reached() {
    let (ca, dir) = (authority(), TempDir::new().unwrap());
    let good = host(&client_of(&ca), &[Trusted("example.org", &ca, None)]);
    let arguments = "s_server -accept 127.0.0.1:0 -Verify 1 -verify_return_error -naccept 1";
    let mut peer = Peer::start(dir.path(), &server_of(&ca), &ca, arguments);
    let (mut peer, address) = tokio::task::spawn_blocking(move || {
        let address = peer.says("ACCEPT ");
        (peer, address)
    })
    .await
    .unwrap();
    let expect = ["spiffe://example.org/server"];
    let originator = originator(&good, &expect, Wire::Tls, &Clock::now());
    let address: SocketAddr = address.parse().unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let to = UpstreamAddr::new(address);
    let mut originated = originator.originate(tcp, to).await.unwrap();
    assert_eq!(originated.peer.to_string(), expect[0]);
    originated.stream.write_all(b"request\n").await.unwrap();
    originated.stream.flush().await.unwrap();
    let says = tokio::task::spawn_blocking(move || peer.says("request"));
    assert_eq!(says.await.unwrap(), "");
}
