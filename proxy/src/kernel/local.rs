//! This host's own addresses, and the source address that it would use towards each destination.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use sidetrack_abi::{
    Address,
    names::{NAMESPACE_ENTRIES, SOURCE_ENTRIES},
    settings::{SETTING_MPTCP, SETTING_NO_V4, SETTING_NO_V6},
};

use super::KernelError;

/// Whose routes are looked at. All namespaces share one table, and whoever is root in one of them
/// makes as many routes there as he likes: all that are served together have half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The daemon's own.
    Own,
    /// Those of another namespace.
    Others,
}

impl Whose {
    /// Routes, and bytes of a list of them.
    fn bounds(self) -> (usize, u64) {
        match self {
            Self::Own => (SOURCE_ENTRIES / 2, u64::MAX),
            Self::Others => (SOURCE_ENTRIES / 2 / NAMESPACE_ENTRIES, 64 << 10),
        }
    }
}

/// What a network namespace has.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its own addresses.
    pub own: Vec<IpAddr>,
    /// Where its routes lead, with the source address there.
    pub sources: Vec<(IpNet, IpAddr)>,
    /// Whether a loopback interface is up. The address of IPv4 can be bound without one, and not
    /// connected to.
    pub has_loopback: bool,
    mptcp: bool,
}

impl Facts {
    /// Those of the namespace that this thread is in.
    pub fn of_this_thread(whose: Whose) -> Result<Self, KernelError> {
        let (own, has_loopback) = interfaces()?;
        Ok(Self {
            own,
            has_loopback,
            sources: routed_sources(whose),
            mptcp: has_mptcp(),
        })
    }

    /// `SETTING_*` of the families that it lacks.
    pub fn absent_families(&self) -> u32 {
        absent_families(&self.own, &self.sources)
    }

    /// `SETTING_*` that hold there.
    pub fn flags(&self) -> u32 {
        self.absent_families() | if self.mptcp { SETTING_MPTCP } else { 0 }
    }
}

/// Addresses of all interfaces of this thread's network namespace, and whether one of them leads back.
fn interfaces() -> Result<(Vec<IpAddr>, bool), KernelError> {
    let interfaces = getifaddrs().map_err(|error| {
        KernelError::new(
            "listing this host's addresses",
            "netlink is not available",
            error,
        )
    })?;
    let mut has_loopback = false;
    let mut own: Vec<IpAddr> = interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            has_loopback |= interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            let address = interface.address?;
            if let Some(v4) = address.as_sockaddr_in() {
                Some(IpAddr::V4(v4.ip()))
            } else {
                address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
            }
        })
        .collect();
    own.sort();
    own.dedup();
    Ok((own, has_loopback))
}

/// For each route of the main table of this thread's namespace, the source address that the kernel
/// chooses there.
///
/// The kernel is asked by connecting a datagram socket, which sends nothing: it alone knows how
/// preferred sources, scopes and address selection work out.
fn routed_sources(whose: Whose) -> Vec<(IpNet, IpAddr)> {
    let (most, bytes) = whose.bounds();
    let read = |path| {
        let mut text = String::new();
        let read = fs::File::open(path).and_then(|file| file.take(bytes).read_to_string(&mut text));
        read.map_or_else(|_| String::new(), |_| text)
    };
    let v4 = read("/proc/thread-self/net/route");
    let v6 = read("/proc/thread-self/net/ipv6_route");
    let mut nets: Vec<IpNet> = foreign(routes_v4(&v4).chain(routes_v6(&v6))).collect();
    nets.sort();
    nets.dedup();
    if nets.len() > most {
        tracing::debug!(
            routes = nets.len(),
            "more routes than are looked at; getsockname() shows the loopback address for the rest"
        );
        nets.truncate(most);
    }
    nets.into_iter()
        .filter_map(|net| Some((net, source_towards(net)?)))
        .collect()
}

/// Whether this thread's network namespace has MPTCP.
pub fn has_mptcp() -> bool {
    fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1")
}

/// The address families (`SETTING_NO_*`) in which this host has neither an address that others
/// could know nor a route.
fn absent_families(own: &[IpAddr], sources: &[(IpNet, IpAddr)]) -> u32 {
    let known = |ip: &IpAddr| match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let all = || {
        own.iter()
            .chain(sources.iter().map(|(_, source)| source))
            .filter(|ip| known(ip))
    };
    let mut absent = 0;
    if !all().any(IpAddr::is_ipv4) {
        absent |= SETTING_NO_V4;
    }
    if !all().any(IpAddr::is_ipv6) {
        absent |= SETTING_NO_V6;
    }
    absent
}

/// Without those of the hop, by which every family would be there.
fn foreign(nets: impl Iterator<Item = IpNet>) -> impl Iterator<Item = IpNet> {
    nets.filter(|net| !Address::from(net.addr()).is_hop())
}

fn source_towards(net: IpNet) -> Option<IpAddr> {
    // The network's own address may be refused as a broadcast; the next one is a host.
    let (any, to): (IpAddr, IpAddr) = match net {
        IpNet::V4(net) if net.prefix_len() == 32 => {
            (Ipv4Addr::UNSPECIFIED.into(), net.addr().into())
        }
        IpNet::V4(net) => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::from(u32::from(net.network()).wrapping_add(1)).into(),
        ),
        IpNet::V6(net) if net.prefix_len() == 128 => {
            (Ipv6Addr::UNSPECIFIED.into(), net.addr().into())
        }
        // The first address after :: is the loopback one; any global address takes the default
        // route.
        IpNet::V6(net) if net.prefix_len() == 0 => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1).into(),
        ),
        IpNet::V6(net) => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::from(u128::from(net.network()).wrapping_add(1)).into(),
        ),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port: nothing is sent.
    // No rule is about port 0: where this process has no cgroup of its own, ours hold for it too.
    socket.connect((to, 0)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_loopback() && !source.is_unspecified()).then_some(source)
}

/// `/proc/net/route`: interface, destination and gateway as hexadecimal words in network order
/// read on this host, …, mask in the eighth column.
fn routes_v4(text: &str) -> impl Iterator<Item = IpNet> + '_ {
    text.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let destination = u32::from_str_radix(columns.nth(1)?, 16).ok()?;
        let mask = u32::from_str_radix(columns.nth(5)?, 16).ok()?;
        let network = Ipv4Addr::from(destination.to_ne_bytes());
        let prefix = Ipv4Addr::from(mask.to_ne_bytes());
        Some(Ipv4Net::with_netmask(network, prefix).ok()?.trunc().into())
    })
}

/// `/proc/net/ipv6_route`: destination as 32 hexadecimal digits, prefix length in hexadecimal.
fn routes_v6(text: &str) -> impl Iterator<Item = IpNet> + '_ {
    text.lines().filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let network = Ipv6Addr::from(u128::from_str_radix(columns.next()?, 16).ok()?);
        let length = u8::from_str_radix(columns.next()?, 16).ok()?;
        let local =
            network.is_multicast() || network.is_loopback() || network.is_unicast_link_local();
        let net = Ipv6Net::new(network, length).ok()?.trunc();
        (!local).then_some(net.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_there_if_somebody_else_could_know_an_address_of_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let only_v4 = [ip("127.0.0.1"), ip("::1"), ip("fe80::1"), ip("10.0.0.1")];
        assert_eq!(absent_families(&only_v4, &[]), SETTING_NO_V6);
        assert_eq!(absent_families(&[ip("fd00::1")], &[]), SETTING_NO_V4);
        let routed = [("0.0.0.0/0".parse().unwrap(), ip("10.0.0.1"))];
        assert_eq!(absent_families(&[ip("fd00::1")], &routed), 0);
    }

    #[test]
    fn the_kernels_route_tables_are_read() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                  *\t004D4DFE\t00000000\t0201\t0\t0\t77\t00FFFFFF\t0\t0\t0\n";
        let nets: Vec<String> = foreign(routes_v4(v4)).map(|net| net.to_string()).collect();
        assert_eq!(nets, ["0.0.0.0/0", "10.0.0.0/24"]);
        let v6 = "fd770000000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000100 00000001 00000000 00000001 v0\n\
                  01000000000000005349444500000000 60 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 0000004d 00000001 00000000 00200200       lo\n\
                  fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
                  00000000000000000000000000000000 00000100 00000001 00000000 00000001 v0\n";
        let nets: Vec<String> = foreign(routes_v6(v6)).map(|net| net.to_string()).collect();
        assert_eq!(nets, ["fd77::/64"]);
    }
}
