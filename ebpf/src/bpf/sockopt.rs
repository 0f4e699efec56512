//! cgroup/getsockopt: SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST for proxies that were written
//! for iptables. Attached to a proxy's own cgroup only: the hook costs every getsockopt() there.

use aya_ebpf::{macros::cgroup_sockopt, programs::SockoptContext};
use sidetrack_abi::Endpoint;

use super::{
    ctx::{AF_INET, AF_INET6, Sockopt},
    maps,
};

const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
/// `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST` have one number.
const ORIGINAL_DST: i32 = 80;
/// The longest value that the kernel passes through the hook.
const PAGE: i32 = 4096;

#[cgroup_sockopt(getsockopt)]
fn st_getsockopt(ctx: SockoptContext) -> i32 {
    let option = Sockopt::new(&ctx);
    let level = option.level();
    if option.name() != ORIGINAL_DST || (level != SOL_IP && level != SOL_IPV6) {
        // A longer value is returned unchanged only if the program says that it did not look.
        if option.length() > PAGE {
            option.set_length(0);
        }
        return 1;
    }
    let Some(redirected) = option.sock().and_then(maps::accepted) else {
        return 1;
    };
    // By the family of what was asked for: a dual-stack proxy tries both levels, and only one
    // of them must answer.
    let destination = redirected.destination;
    match (destination.address().v4_word(), level) {
        (Some(word), SOL_IP) => answer_v4(option, destination, word),
        (None, SOL_IPV6) => answer_v6(option, destination),
        _ => {}
    }
    1
}

/// `struct sockaddr_in`
#[inline(always)]
fn answer_v4(option: Sockopt, destination: Endpoint, word: u32) {
    let Some(room) = option.room::<16>() else {
        return;
    };
    // SAFETY: `room` checked 16 bytes; halves and words at their offsets in the structure.
    unsafe {
        room.cast::<u16>().write_volatile(AF_INET as u16);
        room.add(2)
            .cast::<u16>()
            .write_volatile(destination.port_be());
        room.add(4).cast::<u32>().write_volatile(word);
        room.add(8).cast::<u32>().write_volatile(0);
        room.add(12).cast::<u32>().write_volatile(0);
    }
    option.set_length(16);
    option.succeed();
}

/// `struct sockaddr_in6`
#[inline(always)]
fn answer_v6(option: Sockopt, destination: Endpoint) {
    let Some(room) = option.room::<28>() else {
        return;
    };
    let words = destination.address().words();
    // SAFETY: `room` checked 28 bytes; halves and words at their offsets in the structure.
    unsafe {
        room.cast::<u16>().write_volatile(AF_INET6 as u16);
        room.add(2)
            .cast::<u16>()
            .write_volatile(destination.port_be());
        room.add(4).cast::<u32>().write_volatile(0);
        room.add(8).cast::<u32>().write_volatile(words[0]);
        room.add(12).cast::<u32>().write_volatile(words[1]);
        room.add(16).cast::<u32>().write_volatile(words[2]);
        room.add(20).cast::<u32>().write_volatile(words[3]);
        room.add(24).cast::<u32>().write_volatile(0);
    }
    option.set_length(28);
    option.succeed();
}
