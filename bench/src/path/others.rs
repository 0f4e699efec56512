//! Rules for others than the one that is measured: equally many for everybody who has rules.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The first address of 100.64.0.0/10, which is nobody's here.
const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// Destinations of so many rules: an address each, and port 443.
pub(crate) fn destinations(count: u32) -> impl Iterator<Item = SocketAddrV4> {
    (0..count).map(|number| SocketAddrV4::new(Ipv4Addr::from_bits(FIRST + number), 443))
}
