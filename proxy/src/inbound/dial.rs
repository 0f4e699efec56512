//! The hop to the application.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
};

use ppp::v2::{Addresses, Builder, Command, Protocol, Version};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    addr::UpstreamAddr,
    config::SourceMode,
    data::DataPath,
    policy::{InboundPermit, InboundRoute},
    refusal::{Reason, Refusal},
    socket::{self, Faces},
};

/// Connects to the application at the address that the client asked for.
///
/// The hop's source is an address of this host; what accept() and getpeername() show instead is
/// noted on the socket before it connects. sk_lookup leaves the hop alone because its source is
/// local.
pub(super) async fn dial(
    data: &DataPath,
    route: &InboundRoute,
    permit: &InboundPermit,
) -> Result<TcpStream, Refusal> {
    let to = UpstreamAddr::new(permit.destination().get());
    let socket =
        socket::socket_towards(to.get(), Faces::Application, &data.limits).map_err(|error| {
            Refusal::new(
                Reason::ConnectFailed,
                format!("making a socket for {to}: {error}"),
            )
        })?;
    // Either note also exempts it from redirection.
    let noted = match route.source {
        SourceMode::Api => data.flows.forward(&socket, permit.client().get()),
        SourceMode::ProxyProtocol => data.flows.exempt(&socket),
    };
    noted.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
    if let Some(source) = next_source(to.get()) {
        socket.bind(source).map_err(|error| {
            Refusal::new(
                Reason::ConnectFailed,
                format!("binding {source} for {to}: {error}"),
            )
        })?;
    }
    let mut stream = socket::connect(socket, to, &data.limits).await?;
    if route.source == SourceMode::ProxyProtocol {
        let header = proxy_header(permit.client().get(), to.get()).map_err(|error| {
            Refusal::new(
                Reason::Internal,
                format!("building the PROXY header: {error}"),
            )
        })?;
        stream
            .write_all(&header)
            .await
            .map_err(|error| socket::connect_refusal(to, &error))?;
    }
    Ok(stream)
}

/// The next of 65,536 loopback addresses, each with a port range of its own: from one source
/// address an application could be reached only as often as there are ephemeral ports, with those
/// in TIME_WAIT. IPv6 has a single loopback address; there the kernel chooses.
fn next_source(to: SocketAddr) -> Option<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    to.is_ipv4()
        .then(|| SocketAddr::from(([127, 77, high, low], 0)))
}

fn proxy_header(client: SocketAddr, destination: SocketAddr) -> std::io::Result<Vec<u8>> {
    // A claimed source may be of the other family than the destination.
    let addresses: Addresses = match (client, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
            (client, destination).into()
        }
        _ => {
            let v6 = |addr: SocketAddr| match addr {
                SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
                SocketAddr::V6(_) => addr,
            };
            (v6(client), v6(destination)).into()
        }
    };
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses).build()
}
