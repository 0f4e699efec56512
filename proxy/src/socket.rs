//! Sockets of ours: how they are bound, connected and kept.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    addr::{LocalAddr, UpstreamAddr},
    config::Limits,
    kernel::{Family, hop},
    refusal::{Reason, Refusal},
    relay::Transport as _,
};

mod accept;
mod guarded;
mod turn;

pub use accept::accept_each;
pub use guarded::Guarded;
pub use turn::{Turn, monotonic};

/// The kernel clamps it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
/// Probes before a silent peer counts as gone.
const KEEPALIVE_PROBES: u32 = 3;

/// A listener on the loopback address, at a port that the kernel chooses: nothing outside this
/// namespace can reach it, and the programs learn the port from the listener itself.
///
/// # Errors
/// EADDRNOTAVAIL in a namespace without the address.
pub fn listen_on_loopback(
    family: Family,
    faces: Faces,
    limits: &Limits,
) -> io::Result<TcpListener> {
    let (domain, ip): (Domain, IpAddr) = match family {
        Family::V4 => (Domain::IPV4, Ipv4Addr::LOCALHOST.into()),
        Family::V6 => (Domain::IPV6, Ipv6Addr::LOCALHOST.into()),
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    // What is accepted inbound has the application's port and inherits this. Without it an
    // application that starts again could not bind its own port while such a connection lives
    // (`__inet_inherit_port()`, net/ipv4/inet_hashtables.c). After bind(), which chooses a port
    // that nobody has.
    socket.set_reuse_address(true)?;
    listen(socket, faces, limits)
}

/// A listener for other hosts. `::` takes both families.
///
/// # Errors
/// EADDRINUSE, EADDRNOTAVAIL.
pub fn listen_at(at: SocketAddr, limits: &Limits) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(at),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // To start again while connections of before linger.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    listen(socket, Faces::Wire, limits)
}

/// Before the first connection is there: each takes over what its listener has
/// (`inet_csk_clone_lock()`, net/ipv4/inet_connection_sock.c), which spares it five system calls.
fn listen(socket: Socket, faces: Faces, limits: &Limits) -> io::Result<TcpListener> {
    tune(&SockRef::from(&socket), faces, limits)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Which network a socket faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faces {
    /// An application of this host. It may stop reading for as long as it likes.
    Application,
    /// Another host, which may vanish.
    Wire,
}

/// Sets what every relayed connection has: no delay, keepalive and, towards another host, a bound
/// on unacknowledged data.
fn tune(socket: &SockRef<'_>, faces: Faces, limits: &Limits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits.keepalive)
        .with_interval((limits.keepalive / KEEPALIVE_PROBES).max(Duration::from_secs(1)))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // It ends a connection whose reader has stopped too, even if every probe of the closed window
    // is answered (`tcp_probe_timer()`, net/ipv4/tcp_timer.c).
    match faces {
        Faces::Application => Ok(()),
        Faces::Wire => socket.set_tcp_user_timeout(Some(limits.user_timeout)),
    }
}

/// Our end of a connection from outside. One of which the kernel does not tell is reset.
///
/// # Errors
/// [`Reason::Internal`]
pub fn arrived(mut stream: TcpStream) -> Result<(TcpStream, LocalAddr), Refusal> {
    match stream.local_addr() {
        Ok(local) => Ok((stream, LocalAddr::new(local))),
        Err(error) => {
            stream.abort();
            Err(Refusal::new(
                Reason::Internal,
                format!("reading the socket's own address: {error}"),
            ))
        }
    }
}

/// A socket for a connection to `to`, tuned before it connects: the options cost no more then,
/// and hold from the first packet.
///
/// # Errors
/// [`Reason::ConnectFailed`]: out of descriptors or memory.
pub fn socket_towards(
    to: UpstreamAddr,
    faces: Faces,
    limits: &Limits,
) -> Result<TcpSocket, Refusal> {
    let made = || {
        let socket = if to.ip().is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        tune(&SockRef::from(&socket), faces, limits)?;
        Ok(socket)
    };
    made().map_err(|error: io::Error| {
        Refusal::new(
            Reason::ConnectFailed,
            format!("making a socket for {to}: {error}"),
        )
    })
}

/// Gives a socket its source address, of this host or one of `kernel/hop.rs`, and leaves the port
/// to connect(): a port that bind() chose could be used to one destination alone, and there are
/// few.
///
/// # Errors
/// EADDRNOTAVAIL if the host does not have the address.
pub fn bind_source(socket: &TcpSocket, source: SocketAddr) -> io::Result<()> {
    setsockopt(socket, IpBindAddressNoPort, &true)?;
    if source.is_ipv6() && hop::is_source(source.ip()) {
        // bind() asks for an interface's address (`__inet6_bind()`, net/ipv6/af_inet6.c); for
        // IPv4 a route is enough.
        SockRef::from(socket).set_freebind_v6(true)?;
    }
    socket.bind(source)
}

/// Connects within `limits.connect_timeout`.
///
/// # Errors
/// A refusal whose reason is what the network answered.
pub async fn connect(
    socket: TcpSocket,
    to: UpstreamAddr,
    limits: &Limits,
) -> Result<TcpStream, Refusal> {
    match timeout(limits.connect_timeout, socket.connect(to.get())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(connect_refusal(to, &error)),
        Err(_) => Err(Refusal::new(
            Reason::ConnectTimeout,
            format!("{to} did not answer within {:?}", limits.connect_timeout),
        )),
    }
}

/// The reason behind a failed connect().
pub fn connect_refusal(to: UpstreamAddr, error: &io::Error) -> Refusal {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::ConnectRefused,
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        // From this source to this destination every port is in use.
        io::ErrorKind::AddrNotAvailable => Reason::PortsExhausted,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Reason::Unreachable,
        _ => Reason::ConnectFailed,
    };
    Refusal::new(reason, format!("connecting to {to}: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn limits() -> Limits {
        Limits {
            connections: 1,
            handshakes: 1,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            idle: None,
            keepalive: Duration::from_secs(61),
            user_timeout: Duration::from_secs(37),
            idle_tunnels_per_peer: 1,
            idle_tunnels: 1,
            tunnel_idle: Duration::from_secs(60),
            tunnel_age: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn what_is_accepted_has_what_its_listener_was_given() {
        for faces in [Faces::Application, Faces::Wire] {
            let listener = listen_on_loopback(Family::V4, faces, &limits()).unwrap();
            let to = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(to).unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let accepted = SockRef::from(&accepted);
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap().as_secs(), 61);
            assert_eq!(accepted.tcp_keepalive_interval().unwrap().as_secs(), 20);
            assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 3);
            let bound = accepted.tcp_user_timeout().unwrap();
            let wanted = (faces == Faces::Wire).then_some(limits().user_timeout);
            assert_eq!(bound, wanted, "{faces:?}");
            drop(client);
        }
    }
}
