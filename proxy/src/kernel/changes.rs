//! Changes of this host's addresses and routes, by rtnetlink multicast.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// `RTMGRP_*`, include/uapi/linux/rtnetlink.h: links, addresses and routes of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// How many messages are taken at once. They can come as fast as they are read, from whoever changes
/// routes in a loop.
const AT_ONCE: usize = 4_096;

/// Tells whether anything has changed since it was asked last.
pub struct Changes {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    /// Netlink is not available.
    pub fn watch() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 8 * 1024],
        })
    }

    /// Whether there were changes. What they were is not read: everything is looked at again.
    pub fn any(&mut self) -> bool {
        for taken in 0..AT_ONCE {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken > 0,
                // More changes than the socket holds (ENOBUFS) are changes too.
                Err(_) => return true,
            }
        }
        tracing::debug!(
            messages = AT_ONCE,
            "addresses and routes change faster than they are looked at; the rest is for the next look"
        );
        true
    }
}
