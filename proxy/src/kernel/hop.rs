//! The addresses that the proxy connects to applications from.
//!
//! No interface has them: an application that is not told its client's true address, for whatever
//! reason, sees one that is neither its own host's nor anybody else's. Two routes in the table
//! `local` make them addresses of this network namespace. Each instance has routes of its own, told
//! apart by their metric, so that one that ends takes nothing from another.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};
use nix::{errno::Errno, net::if_::if_nametoindex};
use sidetrack_abi::inbound::{HOP_V4, HOP_V6};

use super::{Family, KernelError};

/// `RT_TABLE_LOCAL`, include/uapi/linux/rtnetlink.h.
const TABLE_LOCAL: u8 = 255;
/// More than the kernel's answer to one request.
const RECEIVE: usize = 4 * 1024;

/// The next address to connect from, of 256 in turn: from a single one, an application could be
/// reached only as often at a time as there are ephemeral ports, with those in TIME_WAIT.
pub fn next_source(to: SocketAddr) -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let ip = source(
        if to.is_ipv4() { Family::V4 } else { Family::V6 },
        NEXT.fetch_add(1, Ordering::Relaxed),
    );
    SocketAddr::new(ip, 0)
}

/// Whether an address is one that this proxy, or another one on this host, connects from.
pub fn is_source(ip: IpAddr) -> bool {
    sidetrack_abi::Address::from(ip).is_hop()
}

fn source(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(HOP_V4 | u32::from(number)).into(),
        Family::V6 => {
            let prefix = HOP_V6
                .iter()
                .fold(0_u128, |value, word| value << 32 | u128::from(*word));
            Ipv6Addr::from(prefix << 32 | u128::from(number)).into()
        }
    }
}

/// The routes of one instance; removed when dropped.
#[derive(Debug)]
pub struct HopRoutes {
    metric: u32,
}

impl HopRoutes {
    /// Those of the instance whose own cgroup has this name. Makes none yet.
    pub fn of(own_cgroup: &str) -> Self {
        // FNV-1a: it has to be the same after a crash, and of two instances seldom equal. Then
        // the one that ends takes the other's, which puts them back when it hears of it.
        let hash = own_cgroup.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self {
            metric: hash.max(1),
        }
    }

    /// Makes those that are not there.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace, or where `lo` is down.
    pub fn ensure(&self) -> Result<(), KernelError> {
        for family in [Family::V4, Family::V6] {
            let add = |message| RouteNetlinkMessage::NewRoute(message);
            match self.change(family, add, NLM_F_CREATE | NLM_F_EXCL) {
                Ok(()) => {}
                Err(error) if is(&error, Errno::EEXIST) => {}
                // Without IPv6 no application listens over it either: it is switched off on `lo`, or
                // in the kernel.
                Err(error)
                    if family == Family::V6
                        && [
                            Errno::EACCES,
                            Errno::ENODEV,
                            Errno::EAFNOSUPPORT,
                            Errno::EOPNOTSUPP,
                        ]
                        .into_iter()
                        .any(|errno| is(&error, errno)) => {}
                Err(error) => {
                    return Err(KernelError::new(
                        format!(
                            "adding the route for connections to applications ({} in the table local)",
                            source(family, 0)
                        ),
                        "`lo` must be up, and CAP_NET_ADMIN is needed in this network namespace",
                        error,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Removes those that are there.
    pub fn remove(&self) {
        for family in [Family::V4, Family::V6] {
            match self.change(family, RouteNetlinkMessage::DelRoute, 0) {
                Ok(()) => {}
                Err(error) if is(&error, Errno::ESRCH) => {}
                Err(error) => tracing::debug!(%error, "removing the hop's route"),
            }
        }
    }

    fn change(
        &self,
        family: Family,
        how: impl Fn(RouteMessage) -> RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<()> {
        let mut route = RouteMessage::default();
        let (address_family, length, address) = match source(family, 0) {
            IpAddr::V4(v4) => (AddressFamily::Inet, 24, RouteAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, 96, RouteAddress::Inet6(v6)),
        };
        route.header.address_family = address_family;
        route.header.destination_prefix_length = length;
        route.header.table = TABLE_LOCAL;
        route.header.protocol = RouteProtocol::Static;
        route.header.scope = RouteScope::Host;
        route.header.kind = RouteType::Local;
        route.attributes = vec![
            RouteAttribute::Destination(address),
            RouteAttribute::Oif(if_nametoindex("lo")?),
            RouteAttribute::Priority(self.metric),
        ];
        request(how(route), flags)
    }
}

impl Drop for HopRoutes {
    fn drop(&mut self) {
        self.remove();
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Asks for one change and waits for the kernel's answer to it.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
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
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_hops_address_and_none_is_local() {
        for family in [Family::V4, Family::V6] {
            for number in 0..=u8::MAX {
                let ip = source(family, number);
                assert!(is_source(ip), "{ip}");
                assert!(!ip.is_loopback() && !ip.is_unspecified(), "{ip}");
            }
        }
        assert!(!is_source("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn instances_have_routes_of_their_own() {
        let metric = |name| {
            let routes = std::mem::ManuallyDrop::new(HopRoutes::of(name));
            routes.metric
        };
        assert_eq!(metric("sidetrack-default"), metric("sidetrack-default"));
        assert_ne!(metric("sidetrack-default"), metric("sidetrack-blue"));
    }
}
