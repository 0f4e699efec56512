//! Headers that are written, read, and refused.

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::refusal::Reason;

async fn pair() -> (TcpStream, TcpStream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    (client, server, peer)
}

fn facts() -> TlsFacts {
    TlsFacts {
        version: "TLSv1.3",
        group: "X25519".into(),
        suite: "TLS13_AES_128_GCM_SHA256".into(),
        resumed: false,
    }
}

/// What is read of `header` with `rest` behind it, sent in pieces of `piece` bytes, and what is left.
async fn read_back(
    header: &[u8],
    rest: &[u8],
    piece: usize,
) -> (Result<SocketAddr, Reason>, Vec<u8>) {
    let (mut near, mut far, peer) = pair().await;
    let all = [header, rest].concat();
    let sending = tokio::spawn(async move {
        for piece in all.chunks(piece.max(1)) {
            near.write_all(piece).await.unwrap();
            near.set_nodelay(true).unwrap();
            tokio::task::yield_now().await;
        }
        drop(near);
    });
    let found = client(&mut far, peer).await;
    let mut left = Vec::new();
    if found.is_ok() {
        far.read_to_end(&mut left).await.unwrap();
    }
    drop(far);
    let _ = sending.await;
    (found.map_err(|refusal| refusal.reason), left)
}

#[tokio::test]
async fn what_is_written_is_read_and_the_bytes_behind_it_stay() {
    let tls = facts();
    let announced = |client: &str, destination: &str| Announced {
        client: client.parse().unwrap(),
        destination: destination.parse().unwrap(),
        tls: Some(AnnouncedTls {
            facts: &tls,
            common_name: Some("client.example.org"),
            certificate: true,
        }),
    };
    for kind in [ProxyHeader::V1, ProxyHeader::V2, ProxyHeader::V2Tls] {
        for (client, destination) in [
            ("192.0.2.1:5000", "198.51.100.7:443"),
            ("[2001:db8::1]:5000", "[2001:db8::2]:443"),
        ] {
            let header = of(&announced(client, destination), kind).unwrap();
            for piece in [1, 7, 4096] {
                let (found, left) = read_back(&header, b"GET / HTTP/1.1\n", piece).await;
                assert_eq!(found.unwrap(), client.parse().unwrap(), "{kind:?}");
                assert_eq!(left, b"GET / HTTP/1.1\n", "{kind:?} in pieces of {piece}");
            }
        }
    }
}

#[test]
fn what_tls_told_is_in_the_tlv_of_that_name() {
    let tls = facts();
    let announced = Announced {
        client: "192.0.2.1:5000".parse().unwrap(),
        destination: "198.51.100.7:443".parse().unwrap(),
        tls: Some(AnnouncedTls {
            facts: &tls,
            common_name: Some("client"),
            certificate: true,
        }),
    };
    let bytes = of(&announced, ProxyHeader::V2Tls).unwrap();
    let header = ppp::v2::Header::try_from(bytes.as_slice()).unwrap();
    let tlv = header.tlvs().next().unwrap().unwrap();
    assert_eq!(tlv.kind, u8::from(Type::SSL));
    assert_eq!(tlv.value[..5], [3, 0, 0, 0, 0]);
    assert_eq!(tlv.value[5..8], [0x21, 0, 7]);
    let text = String::from_utf8_lossy(&tlv.value);
    assert!(
        text.contains("TLSv1.3") && text.contains("client"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_has_to_send_one_and_sends_another_thing_is_refused() {
    let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
    let mut huge = ppp::v2::PROTOCOL_PREFIX.to_vec();
    huge.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 198.51.100.7 70000 443\r\n",
        b"PROXY TCP4 nonsense\r\n rest",
        b"PROXY",
        &long,
        &huge,
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
    ] {
        let (found, _) = read_back(bytes, b"", 4096).await;
        assert_eq!(found, Err(Reason::ProxyHeader), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_header_that_speaks_for_nobody_leaves_the_peer() {
    let local = Builder::new(Version::Two | Command::Local, Protocol::Unspecified as u8);
    for header in [local.build().unwrap(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let (found, left) = read_back(&header, b"hello", 4096).await;
        assert!(found.unwrap().ip().is_loopback());
        assert_eq!(left, b"hello");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_of_a_stranger_are_read_or_refused_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (found, _) = runtime.block_on(read_back(&bytes, b"", 64));
        prop_assert!(found.is_ok() || found == Err(Reason::ProxyHeader));
    }
}

proptest! {
    /// As the fuzz target of the same name does with bytes that it chooses better.
    #[test]
    fn whom_a_header_names_is_named_by_what_is_written_of_the_same_client(
        (command, family) in (0x1f_u8..0x23, prop_oneof![Just(0x11_u8), Just(0x21), any::<u8>()]),
        length in prop_oneof![Just(12_u16), Just(36), 0..100_u16],
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let fixed = [command, family, (length >> 8) as u8, length as u8];
        let header = [ppp::v2::PROTOCOL_PREFIX, &fixed, &body].concat();
        if let Ok(Some(client)) = source_of(&header) {
            let announced = Announced { client, destination: client, tls: None };
            for kind in [ProxyHeader::V1, ProxyHeader::V2] {
                prop_assert_eq!(source_of(&of(&announced, kind).unwrap()), Ok(Some(client)));
            }
        }
    }
}
