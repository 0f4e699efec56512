//! What rules say of datagrams. A connected socket is judged once, by its connect(); what is sent
//! with an address is judged each time, by cgroup/sendmsg.
//!
//! No proxy takes datagrams: they are denied, or go their way and are counted.

use sidetrack_abi::{
    Endpoint, Query, Verdict,
    counter::Counter,
    decide,
    event::EVENT_DATAGRAM_DENIED,
    rules::{PROTOCOL_TCP, PROTOCOL_UDP},
    settings::Settings,
};

use super::{
    connect::{Outcome, Selected, describe},
    ctx::{IPPROTO_UDP, Sock, SockAddr},
    maps::{self, RuleSet},
    refuse::{errno_that_shows, fail_with, tell},
};

/// Who sends where.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub(super) sock: Sock,
    pub(super) asked: Endpoint,
    pub(super) family: u32,
    pub(super) selection: Selected,
    pub(super) cgroup: u64,
}

/// Never a redirect.
#[inline(always)]
pub(super) fn outcome(
    addr: SockAddr,
    settings: &Settings,
    set: RuleSet,
    sender: Sender,
) -> Outcome {
    let judged = |protocol| {
        decide(
            &set,
            &Query {
                destination: sender.asked,
                selection: sender.selection.class,
                protocol,
            },
        )
    };
    if addr.protocol() != IPPROTO_UDP {
        return unruled(judged(PROTOCOL_TCP), Counter::OtherProtocol);
    }
    let rule = match judged(PROTOCOL_UDP) {
        Verdict::Deny(rule) => rule,
        Verdict::Unmatched => return unruled(judged(PROTOCOL_TCP), Counter::UdpUnruled),
        Verdict::Pass(_) | Verdict::Redirect(_) => {
            maps::count(Counter::UdpPassed);
            return Outcome::Pass;
        }
        Verdict::Ignore(_) => {
            maps::count(Counter::Ignored);
            return Outcome::Pass;
        }
    };
    maps::count(Counter::UdpDenied);
    let errno = errno_that_shows(u32::from(rule.operand));
    if maps::is_new_denial(sender.sock, &sender.asked) {
        let connection = describe(
            settings,
            sender.sock,
            sender.asked,
            sender.family,
            &rule,
            sender.selection,
            sender.cgroup,
        );
        tell(addr, connection, EVENT_DATAGRAM_DENIED, errno);
    }
    fail_with(errno)
}

/// Counts what goes to a destination that is governed by rules about TCP alone.
#[inline(always)]
fn unruled(over_tcp: Verdict, counter: Counter) -> Outcome {
    if !matches!(over_tcp, Verdict::Unmatched | Verdict::Ignore(_)) {
        maps::count(counter);
    }
    Outcome::Pass
}
