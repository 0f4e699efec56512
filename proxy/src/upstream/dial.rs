//! One connection to one endpoint.

use std::sync::Arc;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::client::TlsStream;

use super::{Endpoint, UnderWay, Upstream};
use crate::{
    addr::{LocalAddr, UpstreamAddr},
    config::HttpVersion,
    data::DataPath,
    proxy_header::{self, Announced},
    record::TlsFacts,
    refusal::{Reason, Refusal},
    socket::{self, Faces},
    tls::{Proven, client::Originator},
};

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Connected {
    /// No byte of a client has moved on it.
    pub stream: Stream,
    /// Where it goes.
    pub at: UpstreamAddr,
    /// Our end.
    pub local: LocalAddr,
    /// Counts it for as long as it lives.
    pub under_way: UnderWay,
}

/// How it goes there.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<Tls>),
}

/// A connection in TLS to an endpoint that proved who it is.
#[derive(Debug)]
pub struct Tls {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// Whom the endpoint proved to be.
    pub peer: Arc<Proven>,
    /// What was negotiated.
    pub facts: TlsFacts,
}

/// What is spoken on a connection, and so which protocols ALPN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// What a client of a listener in mode "tcp" says: nothing is offered.
    Bytes,
    /// HTTP/1.1 alone.
    HttpOne,
    /// HTTP as the upstream is configured.
    Http,
}

/// TLS to one upstream, by what is spoken in it.
#[derive(Debug)]
pub(super) struct Originators {
    bytes: Originator,
    one: Originator,
    http: Originator,
}

impl Originators {
    pub(super) fn new(bytes: Originator, http: HttpVersion) -> Self {
        let offered: &[&[u8]] = match http {
            HttpVersion::Negotiated => &[b"h2", b"http/1.1"],
            HttpVersion::One => &[b"http/1.1"],
            HttpVersion::Two => &[b"h2"],
        };
        Self {
            one: bytes.offering(&[b"http/1.1"]),
            http: bytes.offering(offered),
            bytes,
        }
    }

    pub(super) fn of(&self, speaks: Speaks) -> &Originator {
        match speaks {
            Speaks::Bytes => &self.bytes,
            Speaks::HttpOne => &self.one,
            Speaks::Http => &self.http,
        }
    }
}

impl Upstream {
    /// Connects to `endpoint` for `client`; for nobody, if it is a check.
    pub(super) async fn dial(
        &self,
        data: &DataPath,
        endpoint: &Arc<Endpoint>,
        client: Option<&Announced<'_>>,
        speaks: Speaks,
    ) -> Result<Connected, Refusal> {
        let under_way = endpoint.begin();
        let at = endpoint.at;
        let (stream, local) = self.reach(data, at, client, speaks).await?;
        Ok(Connected {
            stream,
            at,
            local,
            under_way,
        })
    }

    /// Connects to `to`, which is not counted.
    pub(super) async fn reach(
        &self,
        data: &DataPath,
        to: UpstreamAddr,
        client: Option<&Announced<'_>>,
        speaks: Speaks,
    ) -> Result<(Stream, LocalAddr), Refusal> {
        let socket = socket::socket_towards(to, Faces::Wire, &data.limits)?;
        data.exempt(&socket)?;
        let mut stream = socket::connect(socket, to, &data.limits).await?;
        let local = stream.local_addr().map_err(|error| {
            let detail = format!("reading the own address of a connection to {to}: {error}");
            Refusal::new(Reason::ConnectFailed, detail)
        })?;
        if let Some(kind) = self.spec.send_proxy {
            // A check speaks for this host itself.
            let own = Announced {
                client: local,
                destination: to.get(),
                tls: None,
            };
            let header = proxy_header::of(client.unwrap_or(&own), kind).map_err(|error| {
                Refusal::new(Reason::Internal, format!("a PROXY header: {error}"))
            })?;
            stream
                .write_all(&header)
                .await
                .map_err(|error| socket::connect_refusal(to, &error))?;
        }
        let stream = match &self.originators {
            None => Stream::Plain(stream),
            Some(originators) => {
                let _place = data.begin_handshake().await?;
                let handshake = Box::pin(originators.of(speaks).originate(stream, to));
                let originated = data.within_handshake(handshake).await?;
                Stream::Tls(Box::new(Tls {
                    stream: originated.stream,
                    peer: Arc::new(originated.peer),
                    facts: originated.facts,
                }))
            }
        };
        Ok((stream, LocalAddr::new(local)))
    }
}
