//! Where the kernel sends what is for an address, by rtnetlink.

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use parking_lot::Mutex;

/// More than the kernel's answer to one request.
const RECEIVE: usize = 4 * 1024;
/// Answers to earlier requests that may lie before the right one: those of which reading failed.
const STALE: usize = 8;

/// Tells whose an address is. The kernel answers while it is asked and without its lock on the
/// network configuration (`RTNL_FLAG_DOIT_UNLOCKED`, net/ipv4/route.c and net/ipv6/route.c): about
/// 5 µs, so that nothing is remembered that could be out of date.
#[derive(Default)]
pub struct Routes {
    asking: Mutex<Option<Requests>>,
}

impl Routes {
    /// Whether what is sent to `ip` from here stays on this host, or means something else than one
    /// other host: by the routes, which hold more than addresses of interfaces (`ip route add local`,
    /// those of an interface that is down). What the kernel does not tell counts as own.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let mut asking = self.asking.lock();
        let found = asking
            .take()
            .map_or_else(Requests::begin, Ok)
            .and_then(|mut requests| {
                let answer = requests.ask(towards(ip), 0);
                // An answer that is an error is one.
                if !answer.as_ref().is_err_and(is_of_the_socket) {
                    *asking = Some(requests);
                }
                answer
            });
        drop(asking);
        match found {
            Ok(Some(route)) => !leads_away(route.header.kind),
            // There is no route, or one of the type unreachable, prohibit or blackhole: connect()
            // says the same.
            Err(error) if goes_nowhere(&error) => false,
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, %ip, "asking the kernel for a route; the address counts as this host's own");
                true
            }
        }
    }
}

/// Towards one other host, or nowhere.
fn leads_away(kind: RouteType) -> bool {
    matches!(
        kind,
        RouteType::Unicast | RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit
    )
}

fn goes_nowhere(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL
    )
}

fn is_of_the_socket(error: &io::Error) -> bool {
    matches!(
        errno(error),
        Errno::ENOBUFS | Errno::EAGAIN | Errno::EBADMSG
    )
}

fn errno(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// A question for the route to one address.
pub(super) fn towards(ip: IpAddr) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    let (family, address) = address(ip);
    route.header.address_family = family;
    route.header.destination_prefix_length = match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    route.attributes = vec![RouteAttribute::Destination(address)];
    RouteNetlinkMessage::GetRoute(route)
}

/// An address as rtnetlink has it.
pub(super) fn address(ip: IpAddr) -> (AddressFamily, RouteAddress) {
    match ip {
        IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
    }
}

/// A socket that asks the kernel one thing after another.
pub(super) struct Requests {
    socket: Socket,
    last: u32,
    answer: Vec<u8>,
}

impl Requests {
    /// In this thread's network namespace.
    pub(super) fn begin() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        // The answer is there when send() has returned.
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            last: 0,
            answer: vec![0; RECEIVE],
        })
    }

    /// Asks one thing and takes the kernel's answer to it.
    pub(super) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteMessage>> {
        self.last = self.last.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.last;
        let mut request = NetlinkMessage::new(header, message.into());
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        for _ in 0..=STALE {
            let size = self.socket.recv(&mut &mut self.answer[..], 0)?;
            let answer = self.answer.get(..size).unwrap_or_default();
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.last {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
                    Ok(Some(route))
                }
                _ => Ok(None),
            };
        }
        Err(Errno::EBADMSG.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_addresses_of_this_host_from_those_of_others() {
        let routes = Routes::default();
        // The socket is used again after an answer that there is no route.
        for ip in [
            "127.8.8.8",
            "203.0.113.7",
            "::1",
            "2001:db8::7",
            "127.0.0.1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(routes.is_own(ip), ip.is_loopback(), "{ip}");
            assert!(routes.asking.lock().is_some());
        }
    }
}
