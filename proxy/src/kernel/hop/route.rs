//! The hop's routes, by rtnetlink.

use std::{fmt, io};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use nix::net::if_::if_nametoindex;

use super::source;
use crate::kernel::{
    Family,
    routes::{Requests, address, towards},
};

/// `RT_TABLE_LOCAL` and `RT_TABLE_MAIN`, include/uapi/linux/rtnetlink.h.
const TABLE_LOCAL: u8 = 255;
const TABLE_MAIN: u8 = 254;

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
    Requests::begin()?
        .ask(RouteNetlinkMessage::NewRoute(route), flags)
        .map(drop)
}

pub(super) fn delete(family: Family, kind: Kind, metric: u32) -> io::Result<()> {
    let route = message(family, kind, metric)?;
    Requests::begin()?
        .ask(RouteNetlinkMessage::DelRoute(route), NLM_F_ACK)
        .map(drop)
}

/// Whether what is sent to the hop's addresses stays on this host and arrives.
pub(super) fn leads_to_this_host(family: Family) -> bool {
    // Where it is unreachable, the answer is an error for IPv4 and that type of route for IPv6.
    matches!(
        Requests::begin().and_then(|mut kernel| kernel.ask(towards(source(family, 1)), 0)),
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
