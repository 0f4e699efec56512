//! The connection that this proxy makes for an application's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{
    addr::{LocalAddr, UpstreamAddr},
    data::DataPath,
    policy::OutboundPermit,
    record::TlsFacts,
    refusal::{Reason, Refusal},
    relay::Transport,
    socket::{self, Faces},
    tls::client::Originated,
};

/// A TLS connection to a peer, with what records need to know of it.
#[derive(Debug)]
pub struct TunnelIo {
    stream: TlsStream<TcpStream>,
    /// Our end.
    pub local: LocalAddr,
    /// Whom the peer proved to be.
    pub peer: Arc<str>,
    /// What was negotiated.
    pub facts: TlsFacts,
}

/// Connects for a permitted connection: from the source, and with the mark, that its application
/// chose.
pub(super) async fn connect(
    data: &DataPath,
    permit: &OutboundPermit,
    bind: Option<IpAddr>,
) -> Result<(TcpStream, LocalAddr), Refusal> {
    let to = UpstreamAddr::new(permit.destination.get());
    let failed = |doing: &str, error: io::Error| {
        Refusal::new(Reason::ConnectFailed, format!("{doing} for {to}: {error}"))
    };
    let socket = socket::socket_towards(to.get(), Faces::Wire, &data.limits)
        .map_err(|error| failed("making a socket", error))?;
    if permit.mark != 0 {
        SockRef::from(&socket)
            .set_mark(permit.mark)
            .map_err(|error| failed("setting the application's mark", error))?;
    }
    if let Some(source) = bind {
        socket
            .bind(SocketAddr::new(source, 0))
            .map_err(|error| failed("binding the application's source address", error))?;
    }
    if data.exempt_by_socket {
        data.flows
            .exempt(&socket)
            .map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
    }
    let stream = socket::connect(socket, to, &data.limits).await?;
    let local = stream
        .local_addr()
        .map_err(|error| failed("reading the own address", error))?;
    Ok((stream, LocalAddr::new(local)))
}

impl TunnelIo {
    pub(super) fn new(originated: Originated, local: LocalAddr) -> Self {
        Self {
            stream: originated.stream,
            local,
            peer: originated.peer.to_string().into(),
            facts: originated.facts,
        }
    }
}

impl Transport for TunnelIo {
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

impl AsyncRead for TunnelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TunnelIo {
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
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
