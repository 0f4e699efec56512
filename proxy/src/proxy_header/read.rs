//! Reading the header that some clients begin with.
//!
//! It is taken from exactly the bytes that it has: what follows it stays in the socket, for TLS or
//! for the upstream. Only of clients that the listener names is one expected, and then there must be
//! one: who may leave it out could pretend to be the proxy itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use ppp::{PartialResult as _, v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::refusal::{Reason, Refusal};

/// Both versions are longer than this: version 2 begins with a signature of these many bytes, and
/// the shortest header of version 1 has 15 (section 2.1).
const FIRST: usize = 12;
/// The fixed part of version 2 (section 2.2).
const FIXED: usize = 16;
/// The longest header of version 1, with its end of line (section 2.1).
const LONGEST_V1: usize = 107;
/// More than all that known TLVs take, a certificate's subject among them.
const LONGEST_V2: usize = 4096;

/// Who the client is, by its header. A health check of the proxy itself (LOCAL, UNKNOWN) speaks for
/// nobody else, so that it is `peer`.
///
/// # Errors
/// [`Reason::ProxyHeader`]
pub(crate) async fn client(tcp: &mut TcpStream, peer: SocketAddr) -> Result<SocketAddr, Refusal> {
    let header = read(tcp)
        .await
        .map_err(|error| wrong(format!("reading the PROXY header of {peer}: {error}")))?;
    let announced = source_of(&header)
        .map_err(|error| wrong(format!("the PROXY header of {peer}: {error}")))?;
    Ok(announced.unwrap_or(peer))
}

/// Why bytes are no PROXY header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// The client that a header speaks for, of which all bytes are there; `None` if it is that of a health
/// check, or names nobody.
///
/// # Errors
/// It is of neither version.
pub fn source_of(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
    if !header.starts_with(v2::PROTOCOL_PREFIX) {
        let parsed = v1::Header::try_from(header);
        let parsed = parsed.map_err(|error| Malformed(error.to_string()))?;
        return Ok(match parsed.addresses {
            v1::Addresses::Tcp4(tcp) => source(tcp.source_address, tcp.source_port),
            v1::Addresses::Tcp6(tcp) => source(tcp.source_address, tcp.source_port),
            v1::Addresses::Unknown => None,
        });
    }
    let parsed = v2::Header::try_from(header);
    if parsed.is_incomplete() {
        return Err(Malformed("it ends too early".into()));
    }
    let parsed = parsed.map_err(|error| Malformed(error.to_string()))?;
    Ok(match (parsed.command, parsed.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(tcp)) => {
            source(tcp.source_address, tcp.source_port)
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(tcp)) => {
            source(tcp.source_address, tcp.source_port)
        }
        (v2::Command::Local, _) | (_, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    })
}

fn source(address: impl Into<IpAddr>, port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(address.into(), port))
}

/// A whole header, of either version.
async fn read(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIRST];
    tcp.read_exact(&mut bytes).await?;
    if bytes == v2::PROTOCOL_PREFIX {
        bytes.resize(FIXED, 0);
        let (_, rest) = bytes.split_at_mut(FIRST);
        tcp.read_exact(rest).await?;
        let length = bytes.get(FIXED - 2..).and_then(<[u8]>::first_chunk);
        let length = FIXED + usize::from(length.copied().map_or(0, u16::from_be_bytes));
        if length > LONGEST_V2 {
            return Err(io::Error::other(format!(
                "it says that it has {length} bytes"
            )));
        }
        bytes.resize(length, 0);
        let (_, rest) = bytes.split_at_mut(FIXED);
        tcp.read_exact(rest).await?;
        return Ok(bytes);
    }
    if !bytes.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err(io::Error::other("there is none"));
    }
    while bytes.last() != Some(&b'\n') {
        // What is there already is looked at and then taken up to the end of the line.
        let mut ahead = [0; LONGEST_V1];
        let room = LONGEST_V1.saturating_sub(bytes.len());
        let Some(ahead) = ahead.get_mut(..room).filter(|ahead| !ahead.is_empty()) else {
            return Err(io::Error::other("its line does not end"));
        };
        let seen = tcp.peek(ahead).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seen = ahead.get(..seen).unwrap_or_default();
        let end = seen.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(seen.len(), |end| end + 1);
        let begin = bytes.len();
        bytes.resize(begin + take, 0);
        let (_, rest) = bytes.split_at_mut(begin);
        tcp.read_exact(rest).await?;
    }
    Ok(bytes)
}

fn wrong(detail: String) -> Refusal {
    Refusal::new(Reason::ProxyHeader, detail)
}
