//! Real sockets and seeded chance, for the tests of the byte loops.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Everything in these tests happens within this time or has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test if `future` hangs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hangs")
}

/// Two ends of a TCP connection over loopback.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// Closes with a TCP reset.
pub(crate) fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
}

/// Reads to the end; answers the bytes and how the end looked.
pub(crate) async fn drain(socket: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut got = Vec::new();
    let end = soon(socket.read_to_end(&mut got)).await.map(|_| ());
    (got, end)
}

/// Writes until nothing more is taken for a while; answers how much was.
pub(crate) async fn fill(socket: &mut TcpStream) -> usize {
    let block = vec![7; 64 << 10];
    let mut taken = 0;
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(300), socket.write(&block)).await
    {
        taken += count.unwrap();
    }
    taken
}

/// Chance that a seed repeats (xorshift64*).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    /// Bytes that differ from those of any other roll.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll(256) as u8).collect()
    }
}

/// Writes `bytes` in pieces of random length.
pub(crate) async fn write_in_pieces<W: tokio::io::AsyncWrite + Unpin>(
    io: &mut W,
    mut bytes: &[u8],
    dice: &mut Dice,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(1 + dice.roll(bytes.len().min(300_000)));
        io.write_all(piece).await?;
        bytes = rest;
        if dice.roll(4) == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
