//! The kernel's lists of sockets, by netlink sock_diag.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use crate::config::Protocol;

mod connected;

pub use connected::{CloseError, Closed, Closer, Connected, connected, listening_ports};

/// `INET_DIAG_CGROUP_ID`, include/uapi/linux/inet_diag.h, since Linux 5.9: eight bytes.
const CGROUP_ID: u16 = 21;
/// Larger than the kernel makes one datagram of a dump.
const RECEIVE: usize = 64 * 1024;

/// One listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where; not canonical, since `::` and `0.0.0.0` differ.
    pub at: SocketAddr,
    /// An IPv6 socket that takes no IPv4.
    pub v6_only: bool,
    /// The cgroup that it was made in; 0 if the kernel does not tell.
    pub cgroup: u64,
    /// The user who made it.
    pub uid: u32,
    /// Its inode, by which its owners' descriptors name it; 0 if it has none.
    pub inode: u32,
    /// What no other socket has, ever.
    pub cookie: u64,
}

/// All listening TCP sockets of this network namespace.
pub fn listening() -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        dump(Protocol::Tcp, family, StateFlags::LISTEN, |response| {
            found.push(Listening::from(response));
        })?;
    }
    Ok(found)
}

/// Whom the connected TCP sockets of this network namespace may still send bytes of their
/// applications to, one entry for each socket; not canonical.
pub fn peers() -> io::Result<Vec<IpAddr>> {
    let mute = StateFlags::LISTEN | StateFlags::TIME_WAIT | StateFlags::CLOSE;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        dump(
            Protocol::Tcp,
            family,
            StateFlags::all() - mute,
            |response| {
                found.push(response.header.socket_id.destination_address);
            },
        )?;
    }
    Ok(found)
}

/// Whether the kernel answers at all: a question for no socket.
///
/// # Errors
/// ENOENT or EPROTONOSUPPORT if it was built without, or its modules cannot be loaded.
pub fn probe() -> io::Result<()> {
    dump(Protocol::Tcp, AF_INET, StateFlags::empty(), |_| {})
}

fn dump(
    protocol: Protocol,
    family: u8,
    states: StateFlags,
    mut each: impl FnMut(&InetResponse),
) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let socket_id = if family == AF_INET {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    };
    let mut request = NetlinkMessage::new(
        header,
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: number(protocol),
            extensions: ExtensionFlags::empty(),
            states,
            socket_id,
        })
        .into(),
    );
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut buffer = vec![0; RECEIVE];
    loop {
        let size = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = buffer.get(..size).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    each(&response);
                }
                _ => {}
            }
            if length == 0 {
                break;
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// As a request has it.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => IPPROTO_TCP,
        Protocol::Udp => IPPROTO_UDP,
    }
}

impl From<&InetResponse> for Listening {
    fn from(response: &InetResponse) -> Self {
        let id = &response.header.socket_id;
        let mut listening = Self {
            at: SocketAddr::new(id.source_address, id.source_port),
            v6_only: false,
            cgroup: 0,
            uid: response.header.uid,
            inode: response.header.inode,
            cookie: cookie(id.cookie),
        };
        for nla in &response.nlas {
            match nla {
                Nla::SkV6Only(only) => listening.v6_only = *only,
                Nla::Other(other) => {
                    listening.cgroup = cgroup_id(other).unwrap_or(listening.cgroup);
                }
                _ => {}
            }
        }
        listening
    }
}

/// As SO_COOKIE has it: the kernel sends the lower half first.
fn cookie([a, b, c, d, e, f, g, h]: [u8; 8]) -> u64 {
    let half = |bytes| u64::from(u32::from_ne_bytes(bytes));
    half([a, b, c, d]) | half([e, f, g, h]) << 32
}

fn cgroup_id(attribute: &impl netlink_packet_utils::nla::Nla) -> Option<u64> {
    let mut value = [0_u8; 8];
    if attribute.kind() != CGROUP_ID || attribute.value_len() != value.len() {
        return None;
    }
    attribute.emit_value(&mut value);
    Some(u64::from_ne_bytes(value))
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_kernel_tells_whether_a_socket_takes_ipv4() {
        for only in [true, false] {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
            socket.set_only_v6(only).unwrap();
            let all: SocketAddr = "[::]:0".parse().unwrap();
            socket.bind(&all.into()).unwrap();
            socket.listen(1).unwrap();
            let at = socket.local_addr().unwrap().as_socket().unwrap();
            let found = listening().unwrap();
            let found = found.iter().find(|listening| listening.at == at).unwrap();
            assert_eq!(found.v6_only, only);
        }
    }
}
