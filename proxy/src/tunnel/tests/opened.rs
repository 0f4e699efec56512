//! When OPENED leaves.

use std::io::{ErrorKind, Read as _};

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    frame::{Kind, header, numbered},
    *,
};

const ONE: LeaseNumber = LeaseNumber(1);

fn data(bytes: &[u8]) -> Vec<u8> {
    [&header(Kind::Data, bytes.len())[..], bytes].concat()
}

async fn opening(raw: &mut TcpStream) {
    raw.write_all(&open(0).encode(ONE).unwrap()).await.unwrap();
}

/// The application takes these bytes from the tunnel.
async fn reaches(app: &mut TcpStream, raw: &mut TcpStream, bytes: &[u8]) {
    raw.write_all(&data(bytes)).await.unwrap();
    let mut got = vec![0; bytes.len()];
    soon(app.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, bytes);
}

#[tokio::test]
async fn opened_leaves_with_the_first_bytes_of_the_answer() {
    let mut host = Host::new(Answer::Dial);
    let (mut raw, _serving) = host.connection().await;
    opening(&mut raw).await;
    let mut app = host.accept().await;
    // Two: when the second is there, all that the server did about the first is done.
    reaches(&mut app, &mut raw, b"ask").await;
    reaches(&mut app, &mut raw, b"more").await;
    let nothing = (&*SockRef::from(&raw)).read(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    app.write_all(b"answer").await.unwrap();
    let wanted = [&numbered(Kind::Opened, ONE)[..], &data(b"answer")].concat();
    let mut got = vec![0; wanted.len()];
    soon(raw.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn opened_leaves_by_itself_while_the_application_says_nothing() {
    let mut host = Host::new(Answer::Dial);
    let (mut raw, _serving) = host.connection().await;
    opening(&mut raw).await;
    let _silent = host.accept().await;
    let mut got = [0; 8];
    soon(raw.read_exact(&mut got)).await.unwrap();
    assert_eq!(got, numbered(Kind::Opened, ONE));
}

#[tokio::test]
async fn a_client_with_more_to_send_than_it_may_keep_gets_opened_at_once() {
    let mut host = Host::new(Answer::Dial);
    let (mut raw, _serving) = host.connection().await;
    opening(&mut raw).await;
    let mut app = host.accept().await;
    reaches(&mut app, &mut raw, &[7; 20 << 10]).await;
    reaches(&mut app, &mut raw, b"more").await;
    // It is there already: this does not wait.
    let mut got = [0; 8];
    assert_eq!((&*SockRef::from(&raw)).read(&mut got).unwrap(), 8);
    assert_eq!(got, numbered(Kind::Opened, ONE));
}
