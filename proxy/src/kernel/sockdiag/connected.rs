//! Sockets that are connected, and how one is closed from outside.

use std::{collections::HashSet, io, net::SocketAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, SOCK_DESTROY},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};

use super::{RECEIVE, cgroup_id, cookie, dump, number};
use crate::{addr::canonical, config::Protocol, netns::Namespace};

/// A socket that is connected, or about to be.
#[derive(Clone, Debug)]
pub struct Connected {
    /// What it speaks.
    pub protocol: Protocol,
    /// Its own end.
    pub from: SocketAddr,
    /// Its peer.
    pub to: SocketAddr,
    /// Index of the device that it is bound to, 0 if to none.
    pub device: u32,
    /// The cgroup that it was made in; 0 if the kernel does not tell.
    pub cgroup: u64,
    /// The user who made it.
    pub uid: u32,
    /// Its inode; 0 if its last descriptor was closed.
    pub inode: u32,
    /// What no other socket has, ever.
    pub cookie: u64,
    family: u8,
    id: SocketId,
}

/// All TCP sockets of this network namespace that may send bytes of their applications, and the
/// UDP sockets that are connected.
pub fn connected() -> io::Result<Vec<Connected>> {
    // One that is being accepted has no application yet.
    let mute =
        StateFlags::LISTEN | StateFlags::TIME_WAIT | StateFlags::CLOSE | StateFlags::SYN_RECV;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let tcp = StateFlags::all() - mute;
        for (protocol, states) in [
            (Protocol::Tcp, tcp),
            (Protocol::Udp, StateFlags::ESTABLISHED),
        ] {
            dump(protocol, family, states, |response| {
                found.push(Connected::of(protocol, response));
            })?;
        }
    }
    Ok(found)
}

impl Connected {
    fn of(protocol: Protocol, response: &InetResponse) -> Self {
        let id = &response.header.socket_id;
        let at = |ip, port| canonical(SocketAddr::new(ip, port));
        Self {
            protocol,
            from: at(id.source_address, id.source_port),
            to: at(id.destination_address, id.destination_port),
            device: id.interface_id,
            cgroup: response.nlas.iter().find_map(cgroup_of).unwrap_or_default(),
            uid: response.header.uid,
            inode: response.header.inode,
            cookie: cookie(id.cookie),
            family: response.header.family,
            id: id.clone(),
        }
    }
}

#[cfg(test)]
impl Connected {
    /// One that the kernel knows nothing of.
    pub fn example(from: SocketAddr, to: SocketAddr, cgroup: u64, inode: u32) -> Self {
        Self {
            protocol: Protocol::Tcp,
            from,
            to,
            device: 0,
            cgroup,
            uid: 0,
            inode,
            cookie: 1,
            family: AF_INET,
            id: SocketId::new_v4(),
        }
    }
}

fn cgroup_of(nla: &Nla) -> Option<u64> {
    match nla {
        Nla::Other(other) => cgroup_id(other),
        _ => None,
    }
}

/// What became of a socket that was to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its application sees ECONNABORTED, its peer a reset.
    Now,
    /// It had gone already.
    Before,
}

/// Why a socket cannot be closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The kernel has no such thing.
    #[error(
        "this kernel closes no sockets of others: it was built without CONFIG_INET_DIAG_DESTROY; \
         restart the applications instead"
    )]
    Unsupported,
    /// It refused.
    #[error("closing a socket by sock_diag: {0}; it needs CAP_NET_ADMIN")]
    Refused(#[source] io::Error),
}

/// Closes sockets of others.
pub struct Closer {
    socket: Socket,
}

impl Closer {
    /// Those of a namespace.
    pub fn inside(namespace: &Namespace) -> Result<Self, CloseError> {
        let made = namespace.enter(Self::new);
        made.map_err(CloseError::Refused)?
    }

    /// Those of this thread's namespace.
    fn new() -> Result<Self, CloseError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&NetlinkAddr::new(0, 0))?;
            Ok(socket)
        };
        open()
            .map(|socket| Self { socket })
            .map_err(CloseError::Refused)
    }

    /// Closes this very socket: another with the same addresses has another cookie.
    pub fn close(&self, connected: &Connected) -> Result<Closed, CloseError> {
        let Err(error) = self.ask(connected) else {
            return Ok(Closed::Now);
        };
        match error.raw_os_error() {
            // ESTALE: there is one with these addresses, and it has another cookie.
            Some(libc::ENOENT | libc::ESTALE) => Ok(Closed::Before),
            Some(libc::EOPNOTSUPP) => Err(CloseError::Unsupported),
            _ => Err(CloseError::Refused(error)),
        }
    }

    fn ask(&self, connected: &Connected) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let request = SockDiagMessage::InetRequest(InetRequest {
            family: connected.family,
            protocol: number(connected.protocol),
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id: connected.id.clone(),
        });
        let mut message = NetlinkMessage::new(header, request.into());
        message.finalize();
        // The crate knows the question alone, which has the same body.
        message.header.message_type = SOCK_DESTROY;
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut buffer = vec![0; RECEIVE];
        let size = self.socket.recv(&mut &mut buffer[..], 0)?;
        let answer = buffer.get(..size).unwrap_or_default();
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

/// Ports on which something listens: what is connected from one of them was accepted there.
pub fn listening_ports() -> io::Result<HashSet<u16>> {
    let sockets = super::listening()?;
    Ok(sockets.iter().map(|socket| socket.at.port()).collect())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream, UdpSocket},
    };

    use super::*;

    #[test]
    fn a_socket_of_this_process_is_found_with_both_its_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let all = connected().unwrap();
        let own = client.local_addr().unwrap();
        let found = all.iter().find(|socket| socket.from == own).unwrap();
        assert_eq!(found.to, listener.local_addr().unwrap());
        assert_ne!((found.inode, found.cookie), (0, 0));
    }

    #[test]
    #[ignore = "privileged: run by cargo xtask test"]
    fn a_datagram_socket_is_found_if_it_is_connected_and_closed() {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let at = sockets
            .each_ref()
            .map(|socket| socket.local_addr().unwrap());
        sockets[0].connect(at[1]).unwrap();
        let all = connected().unwrap();
        assert!(!all.iter().any(|socket| socket.from == at[1]));
        let found = all.iter().find(|socket| socket.from == at[0]).unwrap();
        assert_eq!((found.protocol, found.to), (Protocol::Udp, at[1]));
        assert_eq!(Closer::new().unwrap().close(found).unwrap(), Closed::Now);
        let error = sockets[0].recv(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED));
    }

    #[test]
    #[ignore = "privileged: run by cargo xtask test"]
    fn a_socket_is_closed_once_and_no_other_with_its_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let own = client.local_addr().unwrap();
        let all = connected().unwrap();
        let found = all.iter().find(|socket| socket.from == own).unwrap();
        let mut other = found.clone();
        other.id.cookie[0] ^= 1;
        let closer = Closer::new().unwrap();
        assert_eq!(closer.close(&other).unwrap(), Closed::Before);
        assert_eq!(closer.close(found).unwrap(), Closed::Now);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNABORTED));
        assert_eq!(closer.close(found).unwrap(), Closed::Before);
    }
}
