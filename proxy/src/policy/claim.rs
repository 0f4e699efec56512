//! Whom a peer may speak for: the source that its OPEN names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::{
    addr::ClientAddr,
    identity::PeerIdentity,
    refusal::{Reason, Refusal},
};

/// Believes a peer at `from` that a connection is of `source`, if that is itself or inside what was
/// `granted` to it.
///
/// # Errors
/// [`Reason::SourceNotGranted`]
pub(super) fn believe(
    peer: &PeerIdentity,
    from: SocketAddr,
    source: ClientAddr,
    granted: &[IpNet],
    own_addresses: impl Fn(IpAddr) -> bool,
) -> Result<(), Refusal> {
    let ip = source.ip();
    // Before anything that may grant it: no grant and no address of a tunnel makes a remote
    // client local. No TCP connection has the port 0 either.
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    let never = ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || broadcast;
    let granted =
        ip == from.ip().to_canonical() || granted.iter().any(|prefix| prefix.contains(&ip));
    if never || !granted || source.port() == 0 || own_addresses(ip) {
        return Err(Refusal::new(
            Reason::SourceNotGranted,
            format!("{peer} at {from} claimed to speak for {source}"),
        ));
    }
    Ok(())
}
