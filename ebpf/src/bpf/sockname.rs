//! cgroup/getsockname4 and getsockname6: a redirected socket shows the address that the host
//! would have used, not the loopback address that it connects from.
//!
//! The port is the socket's true one; the far application sees both.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use sidetrack_abi::{Address, flow::FLAG_BOUND_SOURCE};

use super::{ctx::SockAddr, maps};

#[cgroup_sock_addr(getsockname4)]
fn st_getsockname4(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    if addr.v4().address().is_loopback()
        && let Some(source) = source(addr)
        && let Some(word) = source.v4_word()
    {
        addr.set_v4(word);
    }
    1
}

#[cgroup_sock_addr(getsockname6)]
fn st_getsockname6(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    if addr.v6().address().is_loopback()
        && let Some(source) = source(addr)
    {
        addr.set_v6(source.words());
    }
    1
}

#[inline(always)]
fn source(addr: SockAddr) -> Option<Address> {
    let redirected = maps::client(addr.sock()?)?;
    if redirected.flags & FLAG_BOUND_SOURCE != 0 {
        return None;
    }
    maps::routed_source(addr.netns_cookie(), &redirected.destination.address())
}
