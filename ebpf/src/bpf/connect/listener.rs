//! Where a connection is redirected to: the port of a listener that is alive.

use sidetrack_abi::{ListenerKey, rules::Rule, settings::Settings};

use crate::bpf::{
    ctx::SockAddr,
    maps::{self, Listener, RuleSet, Served},
};

/// Spreads over the listeners by the socket's cookie: one address and port serves only as many
/// connections as there are ephemeral ports.
#[inline(always)]
pub(super) fn own_port(
    addr: SockAddr,
    settings: &Settings,
    served: Served,
    family: u32,
) -> Option<u16> {
    let slots = served.slots;
    if slots == 0 || !maps::is_proxy_alive(settings) {
        return None;
    }
    // Cookies are numbers in turn: with several for each connection, their remainders are not
    // spread. Fibonacci hashing spreads any step evenly.
    let slot = (addr.socket_cookie().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % slots;
    let key = ListenerKey {
        netns: served.netns,
        family,
        slot,
    };
    Listener::outbound(&key).map(|listener| listener.port())
}

/// The listener of somebody else's proxy, of which there is one for each family. Without our own
/// daemon nobody sees that the proxy is stopped or shares its cgroup, and nothing may be there that
/// tells it the destination.
#[inline(always)]
pub(super) fn others_port(
    settings: &Settings,
    served: Served,
    set: RuleSet,
    rule: &Rule,
    family: u32,
) -> Option<u16> {
    if !maps::is_proxy_alive(settings) {
        return None;
    }
    let key = ListenerKey {
        netns: served.netns,
        family,
        slot: set.proxy_slot(rule.operand),
    };
    Listener::outbound(&key).map(|listener| listener.port())
}
