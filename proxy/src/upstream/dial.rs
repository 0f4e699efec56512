//! One connection to one endpoint.

use std::sync::Arc;

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::client::TlsStream;

use super::{Endpoint, UnderWay, Upstream};
use crate::{
    addr::{LocalAddr, UpstreamAddr},
    data::DataPath,
    proxy_header::{self, Announced},
    record::TlsFacts,
    refusal::{Reason, Refusal},
    socket::{self, Faces},
    tls::Proven,
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

impl Upstream {
    /// Connects to `endpoint` for `client`; for nobody, if it is a check.
    pub(super) async fn dial(
        &self,
        data: &DataPath,
        endpoint: &Arc<Endpoint>,
        client: Option<&Announced<'_>>,
    ) -> Result<Connected, Refusal> {
        let under_way = endpoint.begin();
        let to = endpoint.at;
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
        let stream = match &self.originator {
            None => Stream::Plain(stream),
            Some(originator) => {
                let _place = data.begin_handshake().await?;
                let handshake = Box::pin(originator.originate(stream, to));
                let originated = data.within_handshake(handshake).await?;
                Stream::Tls(Box::new(Tls {
                    stream: originated.stream,
                    peer: Arc::new(originated.peer),
                    facts: originated.facts,
                }))
            }
        };
        Ok(Connected {
            stream,
            at: to,
            local: LocalAddr::new(local),
            under_way,
        })
    }
}
