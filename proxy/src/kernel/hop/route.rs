//! The hop's routes, by rtnetlink.

use std::{fmt, io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

use super::source;
use crate::kernel::Family;

/// `RT_TABLE_LOCAL` and `RT_TABLE_MAIN`, include/uapi/linux/rtnetlink.h.
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;
/// More than the kernel's answer to one request.
const RECEIVE: usize = 4 * 1024;

/// The two routes of a family. They differ in their table and in who they say has made them, so
/// that a flush of a table, or of all routes of one protocol, leaves one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Makes the hop's addresses those of this network namespace.
    Local,
    /// Keeps what is sent to them on this host when the other is gone.
    Unreachable,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Unreachable => "unreachable",
        })
    }
}

pub(super) fn add(family: Family, kind: Kind, metric: u32) -> io::Result<()> {
    let route = message(family, kind, metric)?;
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    request(RouteNetlinkMessage::NewRoute(route), flags).map(drop)
}

pub(super) fn delete(family: Family, kind: Kind, metric: u32) -> io::Result<()> {
    let route = message(family, kind, metric)?;
    request(RouteNetlinkMessage::DelRoute(route), NLM_F_ACK).map(drop)
}

/// Whether what is sent to the hop's addresses stays on this host and arrives.
pub(super) fn leads_to_this_host(family: Family) -> bool {
    let mut route = RouteMessage::default();
    let (address_family, address) = address(source(family, 1));
    route.header.address_family = address_family;
    route.header.destination_prefix_length = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    route.attributes = vec![RouteAttribute::Destination(address)];
    // Where it is unreachable, the answer is an error for IPv4 and that type of route for IPv6.
    matches!(
        request(RouteNetlinkMessage::GetRoute(route), 0),
        Ok(Some(found)) if found.header.kind == RouteType::Local
    )
}

/// Bits that all of a family's addresses have in common.
pub(super) fn length(family: Family) -> u8 {
    match family {
        Family::V4 => 24,
        Family::V6 => 96,
    }
}

fn message(family: Family, kind: Kind, metric: u32) -> io::Result<RouteMessage> {
    let mut route = RouteMessage::default();
    let (address_family, address) = address(source(family, 0));
    route.header.address_family = address_family;
    route.header.destination_prefix_length = length(family);
    route.attributes = vec![
        RouteAttribute::Destination(address),
        RouteAttribute::Priority(metric),
    ];
    match kind {
        Kind::Local => {
            route.header.table = TABLE_LOCAL;
            route.header.protocol = RouteProtocol::Static;
            route.header.scope = RouteScope::Host;
            route.header.kind = RouteType::Local;
            let lo = RouteAttribute::Oif(if_nametoindex("lo")?);
            route.attributes.push(lo);
        }
        Kind::Unreachable => {
            route.header.table = TABLE_MAIN;
            route.header.protocol = RouteProtocol::Boot;
            route.header.scope = RouteScope::Universe;
            route.header.kind = RouteType::Unreachable;
        }
    }
    Ok(route)
}

fn address(ip: IpAddr) -> (AddressFamily, RouteAddress) {
    match ip {
        IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
    }
}

/// Asks one thing and waits for the kernel's answer to it.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut request = NetlinkMessage::new(header, message.into());
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = vec![0; RECEIVE];
    let size = socket.recv(&mut &mut answer[..], 0)?;
    let answer = answer.get(..size).unwrap_or_default();
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(Some(route)),
        _ => Ok(None),
    }
}
