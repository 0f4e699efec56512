//! The hop to the application.

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

use super::inward::Inward;
use crate::{
    addr::UpstreamAddr,
    config::{ProxyHeader, SourceMode},
    data::DataPath,
    kernel::hop,
    policy::{InboundPermit, InboundRoute},
    proxy_header::{self, Announced},
    refusal::{Reason, Refusal},
    socket::{self, Faces},
};

/// Sources that are tried while each before has no free port to the application.
const SOURCES: u32 = 8;

/// Connects to the application at the address that the client asked for.
///
/// The hop's source is one of `kernel/hop.rs`; what accept() and getpeername() show instead is
/// noted on the socket before it connects. sk_lookup leaves the hop alone because of that note.
/// Where the note is lost, the SYN is taken for one from outside, and `inbound.rs` resets it.
pub(super) async fn dial(
    data: &DataPath,
    inward: &Inward,
    route: &InboundRoute,
    permit: &InboundPermit,
) -> Result<TcpStream, Refusal> {
    let to = UpstreamAddr::new(permit.destination().get());
    let mut tried = 1;
    let mut stream = loop {
        let socket = prepare(data, inward, route, permit, to)?;
        match socket::connect(socket, to, &data.limits).await {
            Err(refusal) if refusal.reason == Reason::PortsExhausted && tried < SOURCES => {
                tried += 1;
            }
            connected => break connected?,
        }
    };
    if route.source == SourceMode::ProxyProtocol {
        let announced = Announced {
            client: permit.client().get(),
            destination: to.get(),
            tls: None,
        };
        let header = proxy_header::of(&announced, ProxyHeader::V2).map_err(|error| {
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

/// A socket that is noted as the hop for a permitted connection, with its source.
fn prepare(
    data: &DataPath,
    inward: &Inward,
    route: &InboundRoute,
    permit: &InboundPermit,
    to: UpstreamAddr,
) -> Result<TcpSocket, Refusal> {
    let make = || socket::socket_towards(to, Faces::Application, &data.limits);
    let socket = inward.namespace.enter(make).map_err(|error| {
        Refusal::new(
            Reason::ConnectFailed,
            format!("entering the application's namespace for {to}: {error}"),
        )
    })??;
    // Either note also exempts it from redirection.
    let noted = match route.source {
        SourceMode::Api => data.flows.forward(&socket, permit.client().get()),
        SourceMode::ProxyProtocol => data.flows.hop(&socket),
    };
    noted.map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
    let source = hop::next_source(to.get());
    socket::bind_source(&socket, source).map_err(|error| {
        Refusal::new(
            Reason::ConnectFailed,
            format!("binding {source} for {to}: {error}"),
        )
    })?;
    Ok(socket)
}
