//! cgroup/getpeername4 and getpeername6: the address that the application expects.
//!
//! accept() runs this hook too if it was given room for an address (`do_accept()`,
//! net/socket.c). It can change the answer and not refuse it.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use sidetrack_abi::Endpoint;

use super::{ctx::SockAddr, maps};

#[cgroup_sock_addr(getpeername4)]
fn st_getpeername4(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    if let Some(peer) = peer(addr)
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
    if let Some(peer) = peer(addr) {
        addr.set_v6(peer.address().words());
        addr.set_port(peer.port_be());
    }
    1
}

/// A socket that connected shows what it asked for, one that was accepted its client.
#[inline(always)]
fn peer(addr: SockAddr) -> Option<Endpoint> {
    let sock = addr.sock()?;
    match maps::client(sock) {
        Some(redirected) => Some(redirected.destination),
        None => maps::served(sock),
    }
}
