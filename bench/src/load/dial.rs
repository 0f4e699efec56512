//! Connections of the client.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Moment, PATIENCE, tally::Failed};
use crate::{Trouble, agent::Verb};

/// Where to, in the form that connect() takes.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    to: SocketAddr,
    address: SockAddr,
}

impl Dial {
    pub(super) fn new(to: SocketAddr) -> Self {
        Self {
            to,
            address: to.into(),
        }
    }

    /// A socket that has not connected: whatever it needs is set before time is taken. Its time limits
    /// hold for connect() too.
    pub(super) fn socket(&self) -> Result<Socket, Failed> {
        let domain = Domain::for_address(self.to);
        let open = || -> io::Result<Socket> {
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_tcp_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        open().map_err(Failed::at("making a socket"))
    }

    /// Connects it.
    pub(super) fn connect(&self, socket: &Socket) -> Result<(), Failed> {
        socket
            .connect(&self.address)
            .map_err(Failed::at("connecting"))
    }

    /// A connection on which `verb` was said.
    pub(super) fn open(&self, verb: Verb) -> Result<TcpStream, Failed> {
        let socket = self.socket()?;
        self.connect(&socket)?;
        let mut stream = TcpStream::from(socket);
        stream
            .write_all(&verb.encode())
            .map_err(Failed::at("saying what the server is to do"))?;
        Ok(stream)
    }

    /// What could not be done, for those who want a connection before the slice begins.
    pub(super) fn trouble(&self, failed: &Failed) -> Trouble {
        Trouble::new(format!("opening a connection to {}", self.to), failed)
    }
}

/// Reads to the end, which the server has made or will: the connection closes at its end first.
pub(super) fn read_to_end(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Failed> {
    let failed = Failed::at("waiting for the end of a connection");
    while stream.read(buffer).map_err(&failed)? > 0 {}
    Ok(())
}

/// When a slice ends, whatever happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Moment,
    after: Duration,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self {
            at: Moment::now().after(time),
            after: time,
        }
    }

    /// Fails if it is over.
    pub(super) fn check(&self) -> Result<(), Failed> {
        if Moment::now() < self.at {
            return Ok(());
        }
        Err(Failed::because(
            "doing all of it",
            format!("it was not done within {} s", self.after.as_secs()),
        ))
    }
}
