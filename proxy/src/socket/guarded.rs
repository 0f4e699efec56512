//! A client's socket, which a refusal must reset.

use std::io::Read as _;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::relay::{Transport as _, forward_transport};

/// A request of most protocols; what is more than this follows on its own.
const FIRST_BYTES: usize = 4096;

/// A client's socket. Dropped, it is reset: a client must not take a refusal, or a daemon that
/// stops, for an orderly end. Once bytes are relayed, the relay decides how it ends.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    relayed: bool,
}

impl Guarded {
    /// Guards a socket that was just accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            relayed: false,
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// From here on the relay decides.
    pub fn begin_relay(&mut self) {
        self.relayed = true;
    }

    /// The relay gave it back untouched: a refusal resets it again.
    pub fn end_relay(&mut self) {
        self.relayed = false;
    }

    /// What the client has sent already, without waiting: up to 4 KiB. Read past the
    /// reactor, which knows nothing yet of a socket that was just accepted.
    pub fn already_sent(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIRST_BYTES];
        let read = (&*SockRef::from(&self.stream))
            .read(&mut bytes)
            .unwrap_or(0);
        bytes.truncate(read);
        bytes
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.relayed {
            self.stream.abort();
        }
    }
}

forward_transport!(Guarded, stream);
