//! The addresses that the proxy connects to applications from.
//!
//! No interface has them: an application that is not told its client's true address, for whatever
//! reason, sees one that is neither its own host's nor anybody else's. A route in the table `local`
//! makes those of each family addresses of this network namespace. Without it an application's
//! answers would leave the host by the default route, in plain text: an `unreachable` route in the
//! table `main` stands behind it. Both go only when nobody answers to such an address any more.
//!
//! Each instance has routes of its own, told apart by their metric, so that one that ends takes
//! nothing from another.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use nix::errno::Errno;
use parking_lot::Mutex;
use sidetrack_abi::inbound::{HOP_V4, HOP_V6};

use super::{Family, KernelError, pins::PinName, preflight, sockdiag};

pub mod everywhere;
mod route;

use route::Kind;

/// How often it is looked whether the applications' sockets are gone.
const POLL: Duration = Duration::from_millis(20);

/// The next address to connect from, of 256 in turn: from a single one, an application could be
/// reached only as often at a time as there are ephemeral ports, with those in TIME_WAIT.
pub fn next_source(to: SocketAddr) -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let ip = source(
        if to.is_ipv4() { Family::V4 } else { Family::V6 },
        NEXT.fetch_add(1, Ordering::Relaxed),
    );
    SocketAddr::new(ip, 0)
}

/// Whether an address is one that this proxy, or another one on this host, connects from.
pub fn is_source(ip: IpAddr) -> bool {
    sidetrack_abi::Address::from(ip).is_hop()
}

fn source(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(HOP_V4 | u32::from(number)).into(),
        Family::V6 => {
            let prefix = HOP_V6
                .iter()
                .fold(0_u128, |value, word| value << 32 | u128::from(*word));
            Ipv6Addr::from(prefix << 32 | u128::from(number)).into()
        }
    }
}

/// The prefixes of those addresses.
pub fn prefixes() -> impl Iterator<Item = IpNet> {
    let each = [Family::V4, Family::V6].into_iter();
    each.filter_map(|family| IpNet::new(source(family, 0), route::length(family)).ok())
}

/// The routes of one instance.
#[derive(Debug)]
pub struct HopRoutes {
    metric: u32,
    made: Mutex<Made>,
}

/// What this process has made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    None,
    /// Some, and nothing depends on them yet.
    Provisional,
    /// Applications' connections depend on them, whoever made them and when.
    Needed,
}

/// What became of an instance's routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// There are none any more.
    All,
    /// They stay for this many sockets of applications, which would send by the default route.
    KeptFor(usize),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("no route is left"),
            Self::KeptFor(sockets) => write!(
                f,
                "the routes of {}/24 and {}/96 stay: applications have {sockets} sockets that were \
                 connected from there, and would send to them in plain text by the default route",
                source(Family::V4, 0),
                source(Family::V6, 0),
            ),
        }
    }
}

impl HopRoutes {
    /// Those of the instance that has the pins of this name. Makes none yet.
    ///
    /// Pins are what one process alone holds at a time, `exec` too: so do its routes. The same
    /// name in another bpf file system is another instance.
    pub fn of(name: &PinName) -> Self {
        let system = preflight::bpffs_mount()
            .and_then(fs::metadata)
            .map_or(0, |found| found.dev());
        Self {
            metric: metric(system, name),
            made: Mutex::new(Made::None),
        }
    }

    /// Makes those that are not there.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace, or where `lo` is down.
    pub fn ensure(&self) -> Result<(), KernelError> {
        for family in [Family::V4, Family::V6] {
            // What protects first: the other may be removed at any time from then on.
            for kind in [Kind::Unreachable, Kind::Local] {
                self.add(family, kind)?;
            }
        }
        Ok(())
    }

    /// Makes those of another network namespace, which this thread is in, for as long as it lasts.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn ensure_elsewhere(&self) -> Result<(), KernelError> {
        let there = Self {
            metric: self.metric,
            made: Mutex::new(Made::Needed),
        };
        there.ensure()
    }

    fn add(&self, family: Family, kind: Kind) -> Result<(), KernelError> {
        match route::add(family, kind, self.metric) {
            Ok(()) => {
                self.has_made_one();
                Ok(())
            }
            Err(error) if is(&error, Errno::EEXIST) => Ok(()),
            // Without IPv6 no application listens over it either.
            Err(error) if is_absent(family, &error) => Ok(()),
            Err(error) => Err(KernelError::new(
                format!(
                    "adding the {kind} route for connections to applications ({})",
                    source(family, 0)
                ),
                "`lo` must be up, and CAP_NET_ADMIN is needed in this network namespace",
                error,
            )),
        }
    }

    /// One that is put back later is as needed as the one that was lost.
    fn has_made_one(&self) {
        let mut made = self.made.lock();
        if *made == Made::None {
            *made = Made::Provisional;
        }
    }

    /// Applications' connections depend on them from now on: dropping this leaves them.
    pub fn stay(&self) {
        *self.made.lock() = Made::Needed;
    }

    /// Removes those that are there, once no socket of an application needs them: its answers
    /// would leave the host. Waits `patience` for that.
    ///
    /// # Errors
    /// The kernel's list of sockets cannot be read, or a route not be changed; they may be there
    /// still.
    pub fn remove(&self, patience: Duration) -> Result<Removed, KernelError> {
        let until = Instant::now() + patience;
        let mut kept = 0;
        for family in [Family::V4, Family::V6] {
            kept += self.remove_of(family, until)?;
        }
        Ok(match kept {
            0 => Removed::All,
            sockets => Removed::KeptFor(sockets),
        })
    }

    /// Number of sockets for which they stay.
    fn remove_of(&self, family: Family, until: Instant) -> Result<usize, KernelError> {
        let mut first = true;
        loop {
            let needed = answering(family)?;
            if needed == 0 {
                self.delete(family, Kind::Local)?;
                self.delete(family, Kind::Unreachable)?;
                return Ok(0);
            }
            // Another instance's route may carry them. Of two that look at once, the one that
            // deleted last finds none, and puts its own back.
            if first {
                if self.delete(family, Kind::Local)? {
                    if route::leads_to_this_host(family) {
                        self.delete(family, Kind::Unreachable)?;
                        return Ok(0);
                    }
                    self.add(family, Kind::Local)?;
                } else if !self.has(family, Kind::Unreachable)? {
                    // This instance has none here.
                    return Ok(0);
                }
            }
            first = false;
            if Instant::now() >= until {
                return Ok(needed);
            }
            thread::sleep(POLL);
        }
    }

    /// Whether it is there. The kernel tells that of a route with a metric only to whoever lists all
    /// routes, or adds it again.
    fn has(&self, family: Family, kind: Kind) -> Result<bool, KernelError> {
        match route::add(family, kind, self.metric) {
            Err(error) if is(&error, Errno::EEXIST) => Ok(true),
            Err(error) if is_absent(family, &error) => Ok(false),
            Ok(()) => self.delete(family, kind).map(|_| false),
            Err(error) => Err(KernelError::new(
                format!("looking for the {kind} route for connections to applications"),
                "CAP_NET_ADMIN is needed in this network namespace",
                error,
            )),
        }
    }

    /// Whether it was there.
    fn delete(&self, family: Family, kind: Kind) -> Result<bool, KernelError> {
        match route::delete(family, kind, self.metric) {
            Ok(()) => Ok(true),
            Err(error) if is(&error, Errno::ESRCH) || is_absent(family, &error) => Ok(false),
            Err(error) => Err(KernelError::new(
                format!(
                    "removing the {kind} route for connections to applications ({})",
                    source(family, 0)
                ),
                "CAP_NET_ADMIN is needed in this network namespace",
                error,
            )),
        }
    }
}

impl Drop for HopRoutes {
    fn drop(&mut self) {
        if *self.made.get_mut() == Made::Provisional
            && let Err(error) = self.remove(Duration::ZERO)
        {
            tracing::warn!(%error, "removing what a start that failed has made");
        }
    }
}

/// Number of sockets of this network namespace whose peer is the proxy's hop.
fn answering(family: Family) -> Result<usize, KernelError> {
    let peers = sockdiag::peers().map_err(|error| {
        KernelError::new(
            "listing connected sockets (sock_diag)",
            "the kernel needs CONFIG_INET_DIAG",
            error,
        )
    })?;
    Ok(peers
        .into_iter()
        .map(|ip| ip.to_canonical())
        .filter(|ip| is_source(*ip) && ip.is_ipv4() == (family == Family::V4))
        .count())
}

/// FNV-1a: it has to be the same after a crash, and of two instances seldom equal. Then the one
/// that ends takes the other's, which puts them back when it hears of it.
fn metric(system: u64, name: &PinName) -> u32 {
    let name = name.to_string();
    let bytes = system.to_ne_bytes().into_iter().chain(name.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

/// Whether IPv6 is switched off on `lo`, or in the kernel.
fn is_absent(family: Family, error: &io::Error) -> bool {
    let absent = [
        Errno::EACCES,
        Errno::ENODEV,
        Errno::EAFNOSUPPORT,
        Errno::EOPNOTSUPP,
    ];
    family == Family::V6 && absent.into_iter().any(|errno| is(error, errno))
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_hops_address_and_none_is_local() {
        for family in [Family::V4, Family::V6] {
            for number in 0..=u8::MAX {
                let ip = source(family, number);
                assert!(is_source(ip), "{ip}");
                assert!(!ip.is_loopback() && !ip.is_unspecified(), "{ip}");
            }
        }
        assert!(!is_source("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_route_that_is_put_back_while_a_daemon_serves_stays_when_it_ends() {
        let hop = HopRoutes {
            metric: 1,
            made: Mutex::new(Made::None),
        };
        hop.has_made_one();
        assert_eq!(*hop.made.lock(), Made::Provisional);
        hop.stay();
        hop.has_made_one();
        assert_eq!(*hop.made.lock(), Made::Needed);
    }

    #[test]
    fn instances_have_routes_of_their_own() {
        let default = PinName::of(&"default".parse().unwrap());
        let blue = PinName::of(&"blue".parse().unwrap());
        assert_eq!(metric(1, &default), metric(1, &default));
        assert_ne!(metric(1, &default), metric(1, &blue));
        assert_ne!(metric(1, &default), metric(2, &default));
        assert_ne!(metric(1, &PinName::exec(7)), metric(1, &PinName::exec(8)));
    }
}
