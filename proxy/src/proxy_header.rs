//! The PROXY header, which tells who a client is (haproxy, doc/proxy-protocol.txt).

use std::{io, net::SocketAddr};

use ppp::{
    v1,
    v2::{Addresses, Builder, Command, Protocol, Type, Version},
};

use crate::{config::ProxyHeader, record::TlsFacts};

mod read;

pub(crate) use read::client;
pub use read::{Malformed, source_of};

/// `pp2_tlv_ssl.client` (section 2.2.6): TLS was used; it showed a certificate over this connection.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;

/// A client, as a header tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// Who connected.
    pub client: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// What TLS told; `None` in plain text.
    pub tls: Option<AnnouncedTls<'a>>,
}

/// What TLS told of a client.
#[derive(Clone, Copy, Debug)]
pub struct AnnouncedTls<'a> {
    /// What was negotiated.
    pub facts: &'a TlsFacts,
    /// The common name of its certificate, if it showed one that has a name.
    pub common_name: Option<&'a str>,
    /// Whether it showed a certificate, which was verified.
    pub certificate: bool,
}

/// The header of a client.
///
/// # Errors
/// It does not fit into the format: a name of more than 64 KiB.
pub fn of(announced: &Announced<'_>, kind: ProxyHeader) -> io::Result<Vec<u8>> {
    let (client, destination) = same_family(announced.client, announced.destination);
    match kind {
        ProxyHeader::V1 => {
            let addresses = v1::Addresses::from((client, destination));
            Ok(addresses.to_string().into_bytes())
        }
        ProxyHeader::V2 => builder(client, destination).build(),
        ProxyHeader::V2Tls => {
            let builder = builder(client, destination);
            match &announced.tls {
                Some(tls) => builder.write_tlv(Type::SSL, &ssl(tls)?)?.build(),
                None => builder.build(),
            }
        }
    }
}

fn builder(client: SocketAddr, destination: SocketAddr) -> Builder {
    let addresses: Addresses = (client, destination).into();
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses)
}

/// `pp2_tlv_ssl`: what the client did, the result of the verification (0, or it would not be here),
/// and values in TLVs of its own.
fn ssl(tls: &AnnouncedTls<'_>) -> io::Result<Vec<u8>> {
    let shown = if tls.certificate { CLIENT_CERT_CONN } else { 0 };
    let mut value = vec![CLIENT_SSL | shown];
    value.extend_from_slice(&0_u32.to_be_bytes());
    let parts = [
        (Type::SSLVersion, Some(tls.facts.version)),
        (Type::SSLCommonName, tls.common_name),
        (Type::SSLCipher, Some(tls.facts.suite.as_str())),
    ];
    for (kind, text) in parts {
        let Some(text) = text else { continue };
        let length = u16::try_from(text.len()).map_err(io::Error::other)?;
        value.push(kind.into());
        value.extend_from_slice(&length.to_be_bytes());
        value.extend_from_slice(text.as_bytes());
    }
    Ok(value)
}

/// A client may be of the other family than where it connected, if somebody spoke for it.
fn same_family(client: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if client.is_ipv4() == destination.is_ipv4() {
        return (client, destination);
    }
    let v6 = |addr: SocketAddr| match addr {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => addr,
    };
    (v6(client), v6(destination))
}

#[cfg(test)]
mod tests;
