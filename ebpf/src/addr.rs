//! Addresses as both sides keep them.

use crate::inbound::{HOP_V4, HOP_V6};

/// An IP address: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`.
///
/// Words and not bytes, because the kernel's contexts hand out 32-bit words in network order and
/// the verifier rejects wider or narrower access to some of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address {
    words: [u32; 4],
}

/// An address and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Endpoint {
    address: Address,
    /// Network order.
    port: u16,
    zero: u16,
}

const _: () = assert!(size_of::<Address>() == 16 && align_of::<Address>() == 4);
const _: () = assert!(size_of::<Endpoint>() == 20 && align_of::<Endpoint>() == 4);

/// The third word of an IPv4-mapped address, as it lies in memory.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// An IPv4 address from its word in network order, as contexts hold it.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// An IPv6 address (or a mapped one) from its words in network order.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The words in network order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// The word in network order, if this is an IPv4 address.
    #[inline(always)]
    pub const fn v4_word(&self) -> Option<u32> {
        let [a, b, c, d] = self.words;
        if a == 0 && b == 0 && c == MAPPED {
            Some(d)
        } else {
            None
        }
    }

    /// 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        let [a, b, c, d] = self.words;
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 24 == 127,
            None => a == 0 && b == 0 && c == 0 && d == 1_u32.to_be(),
        }
    }

    /// One of the addresses that the proxy's hop to an application comes from, see
    /// [`crate::inbound::HOP_V4`].
    #[inline(always)]
    pub const fn is_hop(&self) -> bool {
        let [a, b, c, _] = self.words;
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 8 == HOP_V4 >> 8,
            None => a == HOP_V6[0].to_be() && b == HOP_V6[1].to_be() && c == HOP_V6[2].to_be(),
        }
    }

    /// 0.0.0.0 or ::, which connect() takes for the loopback address.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        let [a, b, c, d] = self.words;
        a == 0 && b == 0 && d == 0 && (c == 0 || c == MAPPED)
    }
}

impl Endpoint {
    /// `port` in network order, as contexts hold it.
    #[inline(always)]
    pub const fn from_be(address: Address, port: u16) -> Self {
        Self {
            address,
            port,
            zero: 0,
        }
    }

    /// `port` in host order.
    #[inline(always)]
    pub const fn new(address: Address, port: u16) -> Self {
        Self::from_be(address, port.to_be())
    }

    /// The address.
    #[inline(always)]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The port in network order.
    #[inline(always)]
    pub const fn port_be(&self) -> u16 {
        self.port
    }

    /// The port in host order.
    #[inline(always)]
    pub const fn port(&self) -> u16 {
        u16::from_be(self.port)
    }
}

#[cfg(not(target_arch = "bpf"))]
mod host {
    use core::net::{IpAddr, Ipv6Addr, SocketAddr};

    use super::{Address, Endpoint};

    impl From<IpAddr> for Address {
        fn from(ip: IpAddr) -> Self {
            let bytes = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let word = |i: usize| {
                u32::from_ne_bytes(core::array::from_fn(|j| {
                    bytes.get(i * 4 + j).copied().unwrap_or(0)
                }))
            };
            Self {
                words: [word(0), word(1), word(2), word(3)],
            }
        }
    }

    impl From<Address> for IpAddr {
        /// Canonical: a mapped address becomes IPv4.
        fn from(address: Address) -> Self {
            let value = address.words.iter().fold(0_u128, |value, word| {
                value << 32 | u128::from(u32::from_be(*word))
            });
            IpAddr::V6(Ipv6Addr::from_bits(value)).to_canonical()
        }
    }

    impl From<SocketAddr> for Endpoint {
        fn from(addr: SocketAddr) -> Self {
            Self::new(addr.ip().into(), addr.port())
        }
    }

    impl From<Endpoint> for SocketAddr {
        fn from(endpoint: Endpoint) -> Self {
            SocketAddr::new(endpoint.address.into(), endpoint.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, SocketAddr};

    use super::*;

    #[test]
    fn addresses_survive_the_way_there_and_back() {
        for text in [
            "10.1.2.3:80",
            "[2001:db8::7]:443",
            "0.0.0.0:0",
            "[::]:1",
            "[::1]:65535",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(addr)), addr);
        }
    }

    #[test]
    fn loopback_and_unspecified_are_known_in_both_families() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        for text in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["128.0.0.1", "::2", "::", "0.0.0.0"] {
            assert!(!address(text).is_loopback(), "{text}");
        }
        assert!(address("::").is_unspecified() && address("0.0.0.0").is_unspecified());
        assert!(!address("::1").is_unspecified() && !address("0.0.0.1").is_unspecified());
    }

    #[test]
    fn the_hops_addresses_are_known_in_both_families_and_are_no_loopback_ones() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        for text in ["254.77.77.0", "254.77.77.255", "100::5349:4445:0:1"] {
            assert!(address(text).is_hop(), "{text}");
            assert!(!address(text).is_loopback(), "{text}");
        }
        for text in ["254.77.78.0", "127.77.77.1", "100::5349:4446:0:1", "::1"] {
            assert!(!address(text).is_hop(), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_keeps_its_word() {
        let address = Address::from("10.1.2.3".parse::<IpAddr>().unwrap());
        assert_eq!(address.v4_word(), Some(u32::from_ne_bytes([10, 1, 2, 3])));
        assert_eq!(
            address,
            Address::from_v4_word(u32::from_ne_bytes([10, 1, 2, 3]))
        );
    }
}
