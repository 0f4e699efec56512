//! A connection that has become one of another protocol, as WebSocket: from then on its bytes are
//! relayed as they are.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{exchange::Exchange, wire::Wire};
use crate::{
    addr::UpstreamAddr,
    policy::Policy,
    refusal::{Reason, Refusal},
    relay::{Moved, Start, Transport, relay},
    tls::Proven,
    upstream::UnderWay,
};

/// Both ends of it, once 101 (Switching Protocols) has passed, and the request that asked for it.
#[derive(Debug)]
pub(super) struct Upgrading {
    pub(super) client: OnUpgrade,
    pub(super) server: OnUpgrade,
    pub(super) exchange: Arc<Exchange>,
    pub(super) upstream: Arc<str>,
    pub(super) at: UpstreamAddr,
    pub(super) peer: Option<Arc<Proven>>,
    /// Counts it.
    pub(super) under_way: Option<UnderWay>,
}

impl Upgrading {
    /// Whether a reload lets it go on, as far as the upstream is concerned.
    pub(super) fn judge(&self) -> impl Fn(&Policy) -> Result<(), Refusal> + use<> {
        let (upstream, at) = (Arc::clone(&self.upstream), self.at);
        let peer = self.peer.clone();
        move |policy| policy.upstream_again(&upstream, peer.as_deref(), at)
    }

    /// Relays bytes until both ends have closed.
    pub(super) async fn carry(self) -> Result<(), Refusal> {
        let idle = self.exchange.session.data.limits.idle;
        let failed = |error: hyper::Error| {
            Refusal::new(Reason::Reset, format!("switching protocols: {error}"))
        };
        let server = self.server.await.map_err(failed)?;
        let client = self.client.await.map_err(failed)?;
        let Ok(Parts { io, read_buf, .. }) = client.downcast::<TokioIo<Wire>>() else {
            return Err(Refusal::new(
                Reason::Internal,
                "a connection that is not the client's was upgraded",
            ));
        };
        let _until_the_end = self.under_way;
        let mut client = io.into_inner();
        let mut server = Far(TokioIo::new(server));
        let start = Start {
            to_b: read_buf.into(),
            to_a: Vec::new(),
        };
        let mut counted = Counted {
            exchange: &self.exchange,
            moved: Moved::default(),
        };
        let end = relay(&mut client, &mut server, start, idle, &mut counted.moved).await;
        if end.is_ok() {
            client.ended();
        }
        end
    }
}

/// Tells the request of what moved, also if the relay is dropped.
struct Counted<'a> {
    exchange: &'a Exchange,
    moved: Moved,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.exchange.up.count(self.moved.up);
        self.exchange.down.count(self.moved.down);
    }
}

/// The upstream's end. What is beneath it is not ours to reset: dropped before its end, it is closed,
/// which the protocols that upgrade to do not take for their own end.
struct Far(TokioIo<Upgraded>);

impl Transport for Far {
    fn abort(&mut self) {}

    fn is_reset(&self) -> bool {
        false
    }
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Far {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
