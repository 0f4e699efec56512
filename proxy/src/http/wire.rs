//! The client's connection as HTTP stands on it: bytes are counted, and a connection that was cut off
//! never looks like one that ended.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::relay::{Moved, Transport};

/// What is known of a wire while it is in the hands of whoever speaks HTTP on it.
#[derive(Debug, Default)]
pub struct Line {
    read: AtomicU64,
    written: AtomicU64,
    /// The client has to take something before more can be written.
    blocked: AtomicBool,
    /// It came to its end, so that it is closed and not reset.
    ended: AtomicBool,
}

impl Line {
    /// Bytes of the client and for it, so far.
    pub fn moved(&self) -> Moved {
        Moved {
            up: self.read.load(Ordering::Relaxed),
            down: self.written.load(Ordering::Relaxed),
        }
    }

    /// Whether something waits for the client to take it.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.blocked.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(length)) = written {
            count(&self.written, *length);
        }
    }

    /// It need not be reset.
    pub fn ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// How a client speaks.
#[derive(Debug)]
pub enum Speaks {
    /// As it is.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connection of a client. Dropped before [`Line::ended`] it is reset.
#[derive(Debug)]
pub struct Wire {
    stream: Speaks,
    /// What was read to find out which version is spoken.
    ahead: Bytes,
    line: Arc<Line>,
}

impl Wire {
    /// `ahead` was read from `stream` already.
    pub fn new(stream: Speaks, ahead: Bytes, line: Arc<Line>) -> Self {
        count(&line.read, ahead.len());
        Self {
            stream,
            ahead,
            line,
        }
    }

    /// It came to its end, so that it is closed and not reset.
    pub(super) fn ended(&self) {
        self.line.ended();
    }

    fn stream(&mut self) -> Pin<&mut (dyn Transport + 'static)> {
        Pin::new(self.stream.transport())
    }
}

impl Speaks {
    fn transport(&mut self) -> &mut (dyn Transport + 'static) {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }
}

impl Transport for Wire {
    fn abort(&mut self) {
        self.stream.transport().abort();
    }

    fn is_reset(&self) -> bool {
        match &self.stream {
            Speaks::Plain(stream) => stream.is_reset(),
            Speaks::Tls(stream) => stream.is_reset(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = self.stream().poll_read(cx, buffer);
        count(&self.line.read, buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.line.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.line.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream().poll_flush(cx);
        // TLS has taken it and the socket has not.
        self.line
            .blocked
            .store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.line.ended.load(Ordering::Relaxed) {
            self.abort();
        }
    }
}

/// One task alone counts, so that nothing has to be locked for it.
fn count(bytes: &AtomicU64, more: usize) {
    let so_far = bytes.load(Ordering::Relaxed);
    bytes.store(so_far.saturating_add(more as u64), Ordering::Relaxed);
}
