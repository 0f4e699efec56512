use super::*;

/// A connection whose client has sent `bytes` and holds its end.
async fn sent(bytes: &[u8]) -> (TcpStream, TcpStream) {
    let (listener, address) = listen().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    if !bytes.is_empty() {
        server.readable().await.unwrap();
    }
    (client, server)
}

const PERMISSIVE: PlainText = PlainText::Accepted {
    detect: Some(Duration::from_secs(60)),
};

fn plain(first: Result<FirstBytes, Refusal>) -> Vec<u8> {
    match first.unwrap() {
        FirstBytes::Plain { prefix, .. } => prefix,
        FirstBytes::Tls(_) => panic!("taken for TLS"),
    }
}

/// The ClientHello that an originator sends.
async fn client_hello(wire: Wire) -> Vec<u8> {
    let ca = authority();
    let own = host(&client_of(&ca), &[Trusted("example.org", &ca, None)]);
    let originator = originator(&own, &["any"], wire, &Clock::now());
    let (listener, address) = listen().await;
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        match first_bytes(tcp, PERMISSIVE).await.unwrap() {
            FirstBytes::Tls(hello) => {
                assert_eq!(hello.offers_tunnel(), wire == Wire::Tunnel);
                hello.raw
            }
            FirstBytes::Plain { .. } => panic!("taken for plain text"),
        }
    };
    let (client, raw) = tokio::join!(connect(&originator, address), server);
    client.unwrap_err();
    raw
}

#[tokio::test]
async fn plain_text_where_only_tls_is_accepted_gets_a_reset_and_no_byte() {
    let (mut client, server) = sent(b"GET / HTTP/1.1\r\n\r\n").await;
    let refusal = first_bytes(server, PlainText::Refused).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Plaintext);
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn plain_text_where_it_is_accepted_keeps_its_first_bytes() {
    let (_client, server) = sent(b"GET /").await;
    assert_eq!(plain(first_bytes(server, PERMISSIVE).await), b"GET /");
}

#[tokio::test]
async fn a_silent_client_is_plain_text_after_the_budget_and_at_once_without_one() {
    for detect in [Some(Duration::from_millis(1)), None] {
        let (_client, server) = sent(b"").await;
        let first = first_bytes(server, PlainText::Accepted { detect }).await;
        assert_eq!(plain(first), b"");
    }
}

#[tokio::test]
async fn without_a_budget_the_bytes_that_are_already_there_decide() {
    let hello = client_hello(Wire::Tls).await;
    for (bytes, is_tls) in [(hello.as_slice(), true), (b"GET /".as_slice(), false)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        io::Write::write_all(&mut client, bytes).unwrap();
        let (server, _) = listener.accept().unwrap();
        // Waits for the first byte, without the reactor's knowledge.
        server.peek(&mut [0]).unwrap();
        server.set_nonblocking(true).unwrap();
        let server = TcpStream::from_std(server).unwrap();
        match first_bytes(server, PlainText::Accepted { detect: None }).await {
            Ok(FirstBytes::Tls(read)) => assert!(is_tls && read.raw == bytes),
            Ok(FirstBytes::Plain { prefix, .. }) => assert!(!is_tls && prefix == bytes),
            Err(refusal) => panic!("{refusal}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_closes_at_once_is_plain_text_or_a_failed_handshake() {
    let (client, server) = sent(b"").await;
    drop(client);
    assert_eq!(plain(first_bytes(server, PERMISSIVE).await), b"");
    let (client, server) = sent(b"").await;
    drop(client);
    let refusal = first_bytes(server, PlainText::Refused).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::HandshakeFailed);
}

#[tokio::test]
async fn bytes_that_only_begin_like_tls_are_plain_text_where_it_is_accepted() {
    let (_client, server) = sent(b"\x16 is not the version").await;
    assert_eq!(
        plain(first_bytes(server, PERMISSIVE).await),
        b"\x16 is not the version"
    );
}

#[tokio::test]
async fn a_malformed_client_hello_gets_an_alert() {
    // A handshake record that holds an empty ServerHello.
    let (mut client, server) = sent(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00").await;
    let read = async {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (answer, refused) = tokio::join!(read, first_bytes(server, PlainText::Refused));
    assert_eq!(refused.unwrap_err().reason, Reason::HandshakeFailed);
    assert_eq!(answer.first(), Some(&0x15), "a record of type alert");
}

#[tokio::test]
async fn a_client_hello_without_end_is_bounded() {
    // Records of a handshake message that claims 16 MiB.
    let mut endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff".to_vec();
    endless.resize(5 + 0x4000, 0);
    for plain in [PlainText::Refused, PlainText::RefusedKeepingTls, PERMISSIVE] {
        let (mut client, server) = sent(&endless).await;
        let flood = async {
            let mut record = b"\x16\x03\x01\x40\x00".to_vec();
            record.resize(5 + 0x4000, 0);
            while client.write_all(&record).await.is_ok() {}
        };
        let judged = async {
            match first_bytes(server, plain).await {
                Ok(FirstBytes::Plain { prefix, .. }) => assert!(prefix.len() < 128 * 1024),
                Ok(FirstBytes::Tls(_)) => panic!("taken for TLS"),
                Err(refusal) => assert_eq!(refusal.reason, Reason::HandshakeFailed),
            }
        };
        tokio::join!(flood, judged);
    }
}

#[tokio::test]
async fn a_post_quantum_client_hello_is_read_byte_by_byte_and_kept_whole() {
    let accepted = [PERMISSIVE, PlainText::RefusedKeepingTls];
    for (wire, plain) in [Wire::Tunnel, Wire::Tls].into_iter().zip(accepted) {
        let hello = client_hello(wire).await;
        assert!(hello.len() > 1200, "not post-quantum: {}", hello.len());
        let (listener, address) = listen().await;
        let client = async {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            for byte in &hello {
                tcp.write_u8(*byte).await.unwrap();
            }
            tcp
        };
        let server = async {
            let (tcp, _) = listener.accept().await.unwrap();
            first_bytes(tcp, plain).await.unwrap()
        };
        let (_client, first) = tokio::join!(client, server);
        match first {
            FirstBytes::Tls(read) => {
                assert_eq!(read.raw, hello);
                assert_eq!(read.offers_tunnel(), wire == Wire::Tunnel);
            }
            FirstBytes::Plain { .. } => panic!("taken for plain text"),
        }
    }
}

#[tokio::test]
async fn of_a_client_that_greases_encrypted_client_hello_the_outer_name_is_read_and_all_is_kept() {
    use rustls::{
        ClientConfig, ClientConnection, RootCertStore,
        client::{EchGreaseConfig, EchMode},
        crypto::{aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_128, hpke::Hpke as _},
    };
    let suite = DH_KEM_X25519_HKDF_SHA256_AES_128;
    let (placeholder, _) = suite.generate_key_pair().unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(crate::tls::provider()))
        .with_ech(EchMode::Grease(EchGreaseConfig::new(suite, placeholder)))
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "Outer.example.org".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let (_client, server) = sent(&hello).await;
    match first_bytes(server, PlainText::RefusedKeepingTls).await {
        Ok(FirstBytes::Tls(read)) => {
            assert_eq!(read.server_name().as_deref(), Some("outer.example.org"));
            assert_eq!(read.raw, hello);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_handshake_succeeds_through_single_byte_segments() {
    let ca = authority();
    let trusted = || [Trusted("example.org", &ca, None)];
    let client = host(&client_of(&ca), &trusted());
    let server = host(&server_of(&ca), &trusted());
    let clock = Clock::now();
    let originator = originator(&client, &["any"], Wire::Tunnel, &clock);
    let terminator = terminator(&server, &["any"], Wire::Tunnel, &clock);
    let (inner, inner_address) = listen().await;
    let (outer, address) = listen().await;
    let relay = tokio::spawn(async move {
        let (near, _) = outer.accept().await.unwrap();
        let far = TcpStream::connect(inner_address).await.unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::join!(drip(near_read, far_write), drip(far_read, near_write));
    });
    let (client, server) = tokio::join!(connect(&originator, address), serve(&inner, &terminator));
    let (originated, greeting) = client.unwrap();
    assert_eq!(greeting.unwrap(), b'x');
    drop((originated, server.unwrap()));
    relay.await.unwrap();
}

async fn drip(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    while let Ok(byte) = from.read_u8().await {
        if to.write_u8(byte).await.is_err() {
            return;
        }
    }
}
