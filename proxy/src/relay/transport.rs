//! What the byte loops ask of a socket beyond reading and writing.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::TcpStream,
};
use tokio_rustls::{TlsStream, client, server};

/// A connection whose bytes are moved: a TCP socket, or TLS on top of one.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the close that follows, when this value is dropped, a TCP reset: what is still
    /// unsent is thrown away, and the far end cannot take the end for a clean one.
    fn abort(&mut self);

    /// Whether the socket was reset or has failed, without reading from it.
    ///
    /// A reader learns of a reset by reading. While the other side is stalled nothing is read,
    /// so the loops ask here from time to time. It costs no system call: the reactor has noted
    /// the event already.
    fn is_reset(&self) -> bool;

    /// The socket itself, where its bytes are those of this transport: they may then go past
    /// this value.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// Ready when a read may find something, so that no buffer is held while there is nothing.
    /// A transport that cannot tell is always ready, and its read decides.
    ///
    /// # Errors
    /// The reactor is gone: the runtime is shutting down.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

impl Transport for TcpStream {
    fn abort(&mut self) {
        // It fails only for a socket that is closed already, which needs no reset.
        let _ = self.set_zero_linger();
    }

    fn is_reset(&self) -> bool {
        // The flag is set by EPOLLERR alone: a reset, or a keepalive or user timeout that ran
        // out. An orderly close of both directions does not set it.
        self.try_io(Interest::ERROR, || Ok(())).is_ok()
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_read_ready(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// So that what is moved from one future to the next is small.
impl<T: Transport> Transport for Box<T> {
    fn abort(&mut self) {
        (**self).abort();
    }

    fn is_reset(&self) -> bool {
        (**self).is_reset()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(cx)
    }
}

impl<T: Transport> Transport for client::TlsStream<T> {
    fn abort(&mut self) {
        self.get_mut().0.abort();
    }

    fn is_reset(&self) -> bool {
        self.get_ref().0.is_reset()
    }
}

impl<T: Transport> Transport for server::TlsStream<T> {
    fn abort(&mut self) {
        self.get_mut().0.abort();
    }

    fn is_reset(&self) -> bool {
        self.get_ref().0.is_reset()
    }
}

impl<T: Transport> Transport for TlsStream<T> {
    fn abort(&mut self) {
        self.get_mut().0.abort();
    }

    fn is_reset(&self) -> bool {
        self.get_ref().0.is_reset()
    }
}

/// Makes a type that adds something to a transport in its field `$field` a transport itself.
macro_rules! forward_transport {
    ($type:ty, $field:ident) => {
        impl $crate::relay::Transport for $type {
            fn abort(&mut self) {
                self.$field.abort();
            }

            fn is_reset(&self) -> bool {
                self.$field.is_reset()
            }

            fn plain(&self) -> Option<&tokio::net::TcpStream> {
                self.$field.plain()
            }

            fn poll_readable(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.$field.poll_readable(cx)
            }
        }

        impl tokio::io::AsyncRead for $type {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buffer: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.$field).poll_read(cx, buffer)
            }
        }

        impl tokio::io::AsyncWrite for $type {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.$field).poll_write(cx, bytes)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.$field).poll_write_vectored(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                self.$field.is_write_vectored()
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.$field).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.$field).poll_shutdown(cx)
            }
        }
    };
}

pub(crate) use forward_transport;

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {
    // A pipe in memory knows no reset: its far end sees an end of file.
    fn abort(&mut self) {}

    fn is_reset(&self) -> bool {
        false
    }
}
