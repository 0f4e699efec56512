//! A client's socket, which a refusal must reset.

use std::{
    io::{self, Read as _},
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::relay::Transport;

/// A request of most protocols; what is more than this follows on its own.
const FIRST_BYTES: usize = 4096;

/// A client's socket. Dropped, it is reset: a client must not take a refusal, or a daemon that
/// stops, for an orderly end. Once bytes are relayed, the relay decides how it ends.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    relayed: bool,
}

impl Guarded {
    /// Guards a socket that was just accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            relayed: false,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// From here on the relay decides.
    pub fn begin_relay(&mut self) {
        self.relayed = true;
    }

    /// The relay gave it back untouched: a refusal resets it again.
    pub fn end_relay(&mut self) {
        self.relayed = false;
    }

    /// What the client has sent already, without waiting: up to 4 KiB. Read past the
    /// reactor, which knows nothing yet of a socket that was just accepted.
    pub fn already_sent(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIRST_BYTES];
        let read = (&*SockRef::from(&self.stream))
            .read(&mut bytes)
            .unwrap_or(0);
        bytes.truncate(read);
        bytes
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.relayed {
            self.stream.abort();
        }
    }
}

impl Transport for Guarded {
    fn abort(&mut self) {
        self.stream.abort();
    }

    fn is_reset(&self) -> bool {
        self.stream.is_reset()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_readable(cx)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
