//! The role between them: a plain relay to where the kernel says that a connection wanted to go, the
//! least that a proxy behind a redirect does.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{Uid, setuid},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::workers;
use crate::{Trouble, load::files};

/// A connection on which nothing moves for so long is ended.
const SILENCE: u16 = 60_000;

/// How long a connect() may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Listens at `at`, becomes `user`, by whom iptables tells what it connects from what applications do,
/// says so in one line, and relays until it is killed.
pub(super) fn run(at: SocketAddr, user: Uid) -> Result<(), Trouble> {
    files::raise()?;
    // First, while it is root: whose listening socket it is, is whom Sidetrack takes for the proxy.
    let listener = workers::listen(at)?;
    setuid(user).map_err(|error| Trouble::new(format!("becoming user {user}"), error))?;
    println!("listening at {at}");
    Err(serve(listener, original))
}

/// Relays who connects to `listener` to where `destination` says; comes back with why it can no
/// longer.
pub(super) fn serve(
    listener: TcpListener,
    destination: impl Fn(&TcpStream) -> io::Result<SocketAddr> + Send + Sync + 'static,
) -> Trouble {
    workers::serve(listener, move |client, scratch| {
        if let Ok(server) = connect(&client, &destination) {
            if relay(&client, &server, scratch).is_err() {
                // A reset passes. By a FIN, TIME_WAIT would keep the port from which this connected.
                reset(&client);
                reset(&server);
            }
        } else {
            reset(&client);
        }
    })
}

/// SO_ORIGINAL_DST. A connection that was not redirected has its own address for it, and would come
/// back without end.
pub(super) fn original(client: &TcpStream) -> io::Result<SocketAddr> {
    let original = SockRef::from(client)
        .original_dst_v4()?
        .as_socket()
        .ok_or(ErrorKind::AddrNotAvailable)?;
    if original == client.local_addr()? {
        return Err(ErrorKind::AddrNotAvailable.into());
    }
    Ok(original)
}

/// Has it closed by a reset; both ends see and tell it.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn connect(
    client: &TcpStream,
    destination: &impl Fn(&TcpStream) -> io::Result<SocketAddr>,
) -> io::Result<TcpStream> {
    let to = destination(client)?;
    let server = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    server.set_tcp_nodelay(true)?;
    server.set_write_timeout(Some(CONNECT))?;
    server.connect(&to.into())?;
    Ok(server.into())
}

fn relay(client: &TcpStream, server: &TcpStream, scratch: &mut [u8]) -> io::Result<()> {
    server.set_nonblocking(true)?;
    client.set_nonblocking(true)?;
    let (up, down) = scratch.split_at_mut(scratch.len() / 2);
    let mut up = Flow::new(client, server, up);
    let mut down = Flow::new(server, client, down);
    // What a client says at once is there by now; the server has not had the time to answer.
    let (mut from_client, mut from_server) = (true, false);
    loop {
        up.advance(from_client)?;
        down.advance(from_server)?;
        if up.is_done() && down.is_done() {
            return Ok(());
        }
        (from_client, from_server) = wait(&up, &down)?;
    }
}

/// Until something can be done, and whether the client or the server can be read from.
fn wait(up: &Flow<'_>, down: &Flow<'_>) -> io::Result<(bool, bool)> {
    let client = up.reads() | down.writes();
    let server = down.reads() | up.writes();
    let mut fds = [
        PollFd::new(up.from.as_fd(), client),
        PollFd::new(up.to.as_fd(), server),
    ];
    // The end of both directions is told of without being asked for, and again and again.
    let asked = match (client.is_empty(), server.is_empty()) {
        (true, false) => fds.split_at_mut(1).1,
        (false, true) => fds.split_at_mut(1).0,
        _ => &mut fds,
    };
    if poll(asked, PollTimeout::from(SILENCE))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
    let [client, server] = fds.map(|fd| {
        fd.revents()
            .is_some_and(|revents| revents.intersects(readable))
    });
    Ok((client, server))
}

/// One direction.
struct Flow<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    buffer: &'a mut [u8],
    /// What was read and is not written yet.
    pending: std::ops::Range<usize>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The end was read; what is pending comes before it.
    Ending,
    Ended,
}

impl<'a> Flow<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream, buffer: &'a mut [u8]) -> Self {
        Self {
            from,
            to,
            buffer,
            pending: 0..0,
            state: State::Open,
        }
    }

    fn is_done(&self) -> bool {
        self.state == State::Ended
    }

    fn reads(&self) -> PollFlags {
        if self.state == State::Open && self.pending.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        }
    }

    fn writes(&self) -> PollFlags {
        if self.pending.is_empty() {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        }
    }

    /// Reads once, if there is something, and writes once. Once: else one direction would starve the
    /// other.
    fn advance(&mut self, readable: bool) -> io::Result<()> {
        if readable && self.state == State::Open && self.pending.is_empty() {
            match self.from.read(self.buffer) {
                Ok(0) => self.state = State::Ending,
                Ok(got) => self.pending = 0..got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !self.pending.is_empty() {
            let bytes = self.buffer.get(self.pending.clone()).unwrap_or_default();
            match self.to.write(bytes) {
                Ok(put) => self.pending.start += put,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.state == State::Ending && self.pending.is_empty() {
            self.to.shutdown(Shutdown::Write)?;
            self.state = State::Ended;
        }
        Ok(())
    }
}
