//! cgroup/getpeername4 and getpeername6: the address that the application expects.
//!
//! accept() runs this hook too if it was given room for an address (`do_accept()`,
//! net/socket.c). It can change the answer and not refuse it.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use sidetrack_abi::{Endpoint, FlowKey};

use super::{ctx::SockAddr, maps};

#[cgroup_sock_addr(getpeername4)]
fn st_getpeername4(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    if let Some(peer) = peer(addr, addr.v4())
        && let Some(word) = peer.address().v4_word()
    {
        addr.set_v4(word);
        addr.set_port(peer.port_be());
    }
    1
}

#[cgroup_sock_addr(getpeername6)]
fn st_getpeername6(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    if let Some(peer) = peer(addr, addr.v6()) {
        addr.set_v6(peer.address().words());
        addr.set_port(peer.port_be());
    }
    1
}

/// A socket that connected shows what it asked for, one that was accepted its client.
/// `shown` is what it would show without us.
#[inline(always)]
fn peer(addr: SockAddr, shown: Endpoint) -> Option<Endpoint> {
    let sock = addr.sock()?;
    if let Some(redirected) = maps::client(sock) {
        return Some(redirected.destination);
    }
    if let Some(client) = maps::served(sock) {
        return Some(client);
    }
    if !shown.address().is_loopback() {
        return None;
    }
    // Only an MPTCP socket can still be ours.
    let flow = FlowKey {
        netns: addr.netns_cookie(),
        source: sock.local(),
        destination: shown,
    };
    maps::dialled(&flow)
}
