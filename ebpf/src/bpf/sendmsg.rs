//! cgroup/sendmsg4 and sendmsg6: datagrams that are sent with an address.
//!
//! The kernel runs these for UDP and UDP-Lite sockets, and not for what a connected socket sends
//! without an address (`udp_sendmsg()`, net/ipv4/udp.c): connect() has judged that, except of
//! UDP-Lite, for which no program runs. A datagram to a mapped address runs the first of them, also
//! on a connected socket (`udpv6_sendmsg()`, net/ipv6/udp.c).

use aya_ebpf::{
    helpers::generated as helpers, macros::cgroup_sock_addr, programs::SockAddrContext,
};
use sidetrack_abi::{
    Endpoint,
    flow::{FAMILY_V4, FAMILY_V6},
};

use super::{
    connect::{ALLOW, Outcome, REJECT, asked_v4, asked_v6, selection},
    ctx::SockAddr,
    datagram::{self, Sender},
    maps::{self, RuleSet},
};

#[cgroup_sock_addr(sendmsg4)]
fn st_sendmsg4(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    sent(addr, asked_v4(addr), FAMILY_V4)
}

#[cgroup_sock_addr(sendmsg6)]
fn st_sendmsg6(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    sent(addr, asked_v6(addr), FAMILY_V6)
}

#[inline(always)]
fn sent(addr: SockAddr, asked: Endpoint, family: u32) -> i32 {
    let (Some((set, settings)), Some(sock)) = (RuleSet::active(), addr.sock()) else {
        return ALLOW;
    };
    // SAFETY: a helper without arguments.
    let cgroup = unsafe { helpers::bpf_get_current_cgroup_id() };
    if cgroup == settings.own_cgroup || maps::own(sock).is_some() {
        return ALLOW;
    }
    let sender = Sender {
        sock,
        asked,
        family,
        selection: selection(addr, settings, set, cgroup),
        cgroup,
    };
    match datagram::outcome(addr, settings, set, sender) {
        Outcome::Fail => REJECT,
        Outcome::Pass | Outcome::Redirect(_) => ALLOW,
    }
}
