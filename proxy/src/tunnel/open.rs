//! What OPEN says: whose connection it is and where it wants to go.

use std::net::{IpAddr, SocketAddr};

use ppp::v2::{Addresses, Builder, Command, Header, Protocol, Version};

use super::frame::{self, HEADER, Kind, LeaseNumber, Violation};
use crate::{
    addr::{ClientAddr, OriginalDst},
    record::ConnectionId,
    refusal::{Reason, Refusal},
};

/// One application connection, as a client announces it. These are claims: policy judges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Stands in the records of both ends.
    pub id: ConnectionId,
    /// The application that connected.
    pub source: ClientAddr,
    /// Where it wanted to go.
    pub destination: OriginalDst,
}

impl Open {
    /// The frame: the lease's number, the connection id, a PROXY protocol v2 header.
    ///
    /// # Errors
    /// [`Reason::Internal`] if the header cannot be built, which no address pair causes.
    pub(crate) fn encode(&self, number: LeaseNumber) -> Result<Vec<u8>, Refusal> {
        let addresses = Addresses::from(one_family(self.source.get(), self.destination.get()));
        let proxy =
            Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
                .build()
                .map_err(|error| {
                    Refusal::new(
                        Reason::Internal,
                        format!("building the PROXY protocol header of {self:?}: {error}"),
                    )
                })?;
        let length = 4 + self.id.0.len() + proxy.len();
        let mut bytes = Vec::with_capacity(HEADER + length);
        bytes.extend_from_slice(&frame::header(Kind::Open, length));
        bytes.extend_from_slice(&number.0.to_be_bytes());
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(&proxy);
        Ok(bytes)
    }

    /// Reads the payload of an OPEN. TLVs of the PROXY protocol header are ignored.
    ///
    /// # Errors
    /// [`Violation::Open`] says which part cannot be read.
    pub fn decode(payload: &[u8]) -> Result<(LeaseNumber, Self), Violation> {
        let (number, rest) = payload
            .split_first_chunk::<4>()
            .ok_or(Violation::Open("lease number is cut short"))?;
        let (id, proxy) = rest
            .split_first_chunk::<16>()
            .ok_or(Violation::Open("connection id is cut short"))?;
        let header = Header::try_from(proxy)
            .map_err(|_| Violation::Open("PROXY protocol header cannot be read"))?;
        if header.as_bytes().len() != proxy.len() {
            return Err(Violation::Open("PROXY protocol header is followed by more"));
        }
        if header.command != Command::Proxy || header.protocol != Protocol::Stream {
            return Err(Violation::Open(
                "PROXY protocol header is not of a TCP connection",
            ));
        }
        let (source, destination) = match header.addresses {
            Addresses::IPv4(v4) => (
                SocketAddr::new(v4.source_address.into(), v4.source_port),
                SocketAddr::new(v4.destination_address.into(), v4.destination_port),
            ),
            Addresses::IPv6(v6) => (
                SocketAddr::new(v6.source_address.into(), v6.source_port),
                SocketAddr::new(v6.destination_address.into(), v6.destination_port),
            ),
            Addresses::Unix(_) | Addresses::Unspecified => {
                return Err(Violation::Open("PROXY protocol header has no IP addresses"));
            }
        };
        let open = Self {
            id: ConnectionId(*id),
            source: ClientAddr::new(source),
            destination: OriginalDst::new(destination),
        };
        Ok((LeaseNumber(u32::from_be_bytes(*number)), open))
    }
}

/// A PROXY protocol header has one address family for both; a mixed pair is written as IPv6
/// with the IPv4 one mapped, and is canonical again when it is read.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    };
    (mapped(source), mapped(destination))
}
