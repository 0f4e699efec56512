//! A client's socket, which a refusal must reset.

use std::io::{self, Read as _};

use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

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
    /// reactor, which most of the time knows nothing yet of a socket that was just accepted.
    pub fn already_sent(&self) -> Vec<u8> {
        let mut bytes = [0; FIRST_BYTES];
        let read = |bytes: &mut [u8]| (&*SockRef::from(&self.stream)).read(bytes);
        let mut known = None;
        // Where it knows already, it is told that nothing is left: the next read then asks it,
        // and not the kernel.
        let _ = self.stream.try_io(Interest::READABLE, || {
            let count = read(&mut bytes).unwrap_or(0);
            known = Some(count);
            match 0 < count && count < FIRST_BYTES {
                true => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                false => Ok(()),
            }
        });
        let count = known.unwrap_or_else(|| read(&mut bytes).unwrap_or(0));
        bytes.get(..count).unwrap_or_default().to_vec()
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
