//! The connection that this proxy makes for an application's.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{
    addr::{LocalAddr, UpstreamAddr},
    data::DataPath,
    netns::Namespace,
    policy::OutboundPermit,
    record::TlsFacts,
    refusal::{Reason, Refusal},
    relay::forward_transport,
    socket::{self, Faces},
    tls::{Proven, client::Originated},
};

/// A TLS connection to a peer, with what records need to know of it.
#[derive(Debug)]
pub struct TunnelIo {
    /// It has a kilobyte of its own, and each future through which a tunnel goes would have it too.
    stream: Box<TlsStream<TcpStream>>,
    /// Our end.
    pub local: LocalAddr,
    /// Whom the peer proved to be, for records.
    pub peer: Arc<str>,
    /// The same, for a policy that comes after.
    pub proven: Arc<Proven>,
    /// What was negotiated.
    pub facts: TlsFacts,
}

/// Connects to `to` for a permitted connection: in its application's namespace, by whose routes and
/// from whose addresses, and from the source and device, and with the mark and DSCP, that the
/// application chose.
pub(super) async fn connect(
    data: &DataPath,
    namespace: &Namespace,
    permit: &OutboundPermit,
    to: UpstreamAddr,
    bind: Option<IpAddr>,
) -> Result<(TcpStream, LocalAddr), Refusal> {
    let failed = |doing: &str, error: io::Error| {
        Refusal::new(Reason::ConnectFailed, format!("{doing} for {to}: {error}"))
    };
    let socket = namespace
        .enter(|| socket::socket_towards(to, Faces::Wire, &data.limits))
        .map_err(|error| failed("entering the application's namespace", error))??;
    if permit.mark != 0 {
        SockRef::from(&socket)
            .set_mark(permit.mark)
            .map_err(|error| failed("setting the application's mark", error))?;
    }
    if permit.tos != 0 {
        let socket = SockRef::from(&socket);
        let set = if to.ip().is_ipv4() {
            socket.set_tos_v4(permit.tos)
        } else {
            socket.set_tclass_v6(permit.tos)
        };
        set.map_err(|error| failed("setting the application's DSCP", error))?;
    }
    if permit.device.is_some() {
        // The option is one for both families.
        SockRef::from(&socket)
            .bind_device_by_index_v4(permit.device)
            .map_err(|error| failed("binding the application's device", error))?;
    }
    if let Some(source) = bind {
        socket::bind_source(&socket, SocketAddr::new(source, 0))
            .map_err(|error| failed("binding the application's source address", error))?;
    }
    data.exempt(&socket)?;
    let stream = socket::connect(socket, to, &data.limits).await?;
    let local = stream
        .local_addr()
        .map_err(|error| failed("reading the own address", error))?;
    Ok((stream, LocalAddr::new(local)))
}

impl TunnelIo {
    pub(super) fn new(originated: Originated, local: LocalAddr) -> Self {
        Self {
            stream: Box::new(originated.stream),
            local,
            peer: originated.peer.to_string().into(),
            proven: Arc::new(originated.peer),
            facts: originated.facts,
        }
    }
}

forward_transport!(TunnelIo, stream);
