//! Addresses by their part in a connection, so that none is taken for another.
//!
//! A connection knows up to four: who connected ([`ClientAddr`]), where it wanted to go
//! ([`OriginalDst`]), where we connected for it ([`UpstreamAddr`]) and what our own end of a
//! socket is ([`LocalAddr`]). All of them are canonical: an IPv4-mapped IPv6 address becomes
//! IPv4 here, once, so that `::ffff:10.0.0.1` and `10.0.0.1` never count as two.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(SocketAddr);

        impl $name {
            /// Takes an address, IPv4-mapped or not, and keeps its canonical form.
            pub fn new(addr: SocketAddr) -> Self {
                Self(canonical(addr))
            }

            /// The whole address.
            pub fn get(self) -> SocketAddr {
                self.0
            }

            /// The address without its port.
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port, in host order.
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address! {
    /// The application that connected, as the far end may know it.
    ClientAddr
}
address! {
    /// What the application asked for, before anything rewrote it.
    OriginalDst
}
address! {
    /// Where this proxy connected on the application's behalf.
    UpstreamAddr
}
address! {
    /// This proxy's own end of a socket.
    LocalAddr
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it stands for; any other as it is.
/// The flow label and scope of an IPv6 address are dropped: neither identifies a destination
/// that a rule could name (link-local destinations are never redirected).
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:80".parse().unwrap();
        assert_eq!(OriginalDst::new(mapped).to_string(), "10.1.2.3:80");
        let native: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(OriginalDst::new(native).get(), native);
    }
}
