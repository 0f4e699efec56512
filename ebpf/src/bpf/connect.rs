//! cgroup/connect4 and connect6: the decision, and the address that connect() really uses.
//!
//! The hook runs before the source port is chosen (`__inet_stream_connect()` calls `pre_connect`
//! and then `connect`, net/ipv4/af_inet.c), so that the flow cannot be noted here: the socket
//! remembers its destination and `sockops/connecting` makes the note.

use aya_ebpf::{
    helpers::generated as helpers, macros::cgroup_sock_addr, programs::SockAddrContext,
};
use sidetrack_abi::{
    Address, Endpoint, Query, Redirected, Verdict,
    counter::Counter,
    decide,
    event::{
        EVENT_DENIED, EVENT_DEVICE_BOUND, EVENT_KERNEL_CLIENT, EVENT_NAMESPACE_PASSED,
        EVENT_NO_LISTENER, EVENT_NO_PROXY, EVENT_OTHER_NAMESPACE, EVENT_UNREACHABLE,
    },
    flow::{FAMILY_V4, FAMILY_V6, FLAG_BOUND_SOURCE},
    rules::{
        ACTION_PLAIN, ACTION_REDIRECT, FAIL_PASS, PROTOCOL_TCP, RULE_CANARY, RULE_UNCLASSIFIED,
        Rule,
    },
    settings::{SETTING_NO_V4, SETTING_NO_V6, SETTING_TELL_NAMESPACES, Settings},
};

use super::{
    ctx::{IPPROTO_TCP, Sock, SockAddr},
    datagram::{self, Sender},
    kernels,
    maps::{self, RuleSet, Served},
    refuse::{refuse, tell},
};

mod listener;
mod selection;

pub(super) use selection::{Selected, selection};

/// The hook's return value for "go on".
pub(super) const ALLOW: i32 = 1;
/// The hook's return value for "fail".
pub(super) const REJECT: i32 = 0;

const ENOMEM: u32 = 12;
const ENODEV: u32 = 19;
const ENETUNREACH: u32 = 101;
const EHOSTDOWN: u32 = 112;

/// What becomes of one connect(), or of one datagram.
pub(super) enum Outcome {
    Pass,
    Fail,
    /// To a listener on the loopback address, at this port in network order.
    Redirect(u16),
}

#[cgroup_sock_addr(connect4)]
fn st_connect4(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    match outcome(&ctx, asked_v4(addr), FAMILY_V4) {
        Outcome::Pass => ALLOW,
        Outcome::Fail => REJECT,
        Outcome::Redirect(port) => {
            addr.set_v4(0x7f00_0001_u32.to_be());
            addr.set_port(port);
            ALLOW
        }
    }
}

#[cgroup_sock_addr(connect6)]
fn st_connect6(ctx: SockAddrContext) -> i32 {
    let addr = SockAddr::new(&ctx);
    let asked = asked_v6(addr);
    // A mapped destination runs this hook and never connect4. It must stay mapped: the socket
    // would connect to ::1 over IPv6 although its application speaks IPv4.
    let mapped = asked.address().v4_word().is_some();
    match outcome(&ctx, asked, if mapped { FAMILY_V4 } else { FAMILY_V6 }) {
        Outcome::Pass => ALLOW,
        Outcome::Fail => REJECT,
        Outcome::Redirect(port) => {
            if mapped {
                addr.set_v6([0, 0, 0xffff_u32.to_be(), 0x7f00_0001_u32.to_be()]);
            } else {
                addr.set_v6([0, 0, 0, 1_u32.to_be()]);
            }
            addr.set_port(port);
            ALLOW
        }
    }
}

/// Where it really goes: the kernel takes 0.0.0.0 for the loopback address, after the hook.
#[inline(always)]
pub(super) fn asked_v4(addr: SockAddr) -> Endpoint {
    let asked = addr.v4();
    if asked.address().is_unspecified() {
        let loopback = Address::from_v4_word(0x7f00_0001_u32.to_be());
        return Endpoint::from_be(loopback, asked.port_be());
    }
    asked
}

/// See [`asked_v4`].
#[inline(always)]
pub(super) fn asked_v6(addr: SockAddr) -> Endpoint {
    let asked = addr.v6();
    if asked.address().is_unspecified() {
        let loopback = Address::from_words([0, 0, 0, 1_u32.to_be()]);
        return Endpoint::from_be(loopback, asked.port_be());
    }
    asked
}

#[inline(always)]
fn outcome(ctx: &SockAddrContext, asked: Endpoint, family: u32) -> Outcome {
    let addr = SockAddr::new(ctx);
    let (Some((set, settings)), Some(sock)) = (RuleSet::active(), addr.sock()) else {
        return Outcome::Pass;
    };
    // SAFETY: a helper without arguments.
    let cgroup = unsafe { helpers::bpf_get_current_cgroup_id() };
    if cgroup == settings.own_cgroup || maps::own(sock).is_some() {
        return Outcome::Pass;
    }
    let selection = selection(addr, settings, set, cgroup);
    if addr.protocol() != IPPROTO_TCP {
        let sender = Sender {
            sock,
            asked,
            family,
            selection,
            cgroup,
        };
        return datagram::outcome(addr, settings, set, sender);
    }
    if !restore_device(addr, sock) {
        let rule = Rule {
            index: RULE_UNCLASSIFIED,
            ..Rule::default()
        };
        let connection = describe(settings, sock, asked, family, &rule, selection, cgroup);
        maps::count(Counter::DeviceBound);
        // Its storage still knows the device, for the next attempt.
        return refuse(addr, connection, EVENT_DEVICE_BOUND, ENODEV);
    }
    let verdict = decide(
        &set,
        &Query {
            destination: asked,
            selection: selection.class,
            protocol: PROTOCOL_TCP,
        },
    );
    let rule = match verdict {
        // The daemon's own goes to where it has listeners. Elsewhere it is somebody else's, whatever
        // selection that is in.
        Verdict::Redirect(rule)
            if rule.index == RULE_CANARY
                && Served::find(addr.netns_cookie(), settings).is_none() =>
        {
            maps::forget_client(sock);
            return Outcome::Pass;
        }
        Verdict::Redirect(rule) | Verdict::Deny(rule) => rule,
        Verdict::Unmatched | Verdict::Pass(_) => {
            // A socket that was redirected before and now goes elsewhere must not be taken for
            // redirected.
            maps::forget_client(sock);
            return Outcome::Pass;
        }
        Verdict::Ignore(_) => return pass(sock, Counter::Ignored),
    };
    let to_proxy = rule.action == ACTION_REDIRECT;
    if to_proxy && maps::is_proxy_cgroup(cgroup) {
        // What it connects to for the applications would come back to it without end.
        return pass(sock, Counter::ProxyDirect);
    }
    let connection = Redirected {
        tos: addr.type_of_service(family),
        ..describe(settings, sock, asked, family, &rule, selection, cgroup)
    };
    if matches!(verdict, Verdict::Deny(_)) {
        maps::count(Counter::Denied);
        let errno = u32::from(rule.operand);
        return fail(addr, sock, connection, EVENT_DENIED, errno);
    }
    let direct = rule.action == ACTION_PLAIN || rule.fail == FAIL_PASS;
    if kernels::is_own(sock) {
        // Memory that the proxy waits for may have to be written there first, and kernels before
        // 6.1.76 keep the rewritten address as that of the mount.
        if direct {
            return pass(sock, Counter::KernelPassed);
        }
        maps::count(Counter::KernelBlocked);
        return fail(addr, sock, connection, EVENT_KERNEL_CLIENT, EHOSTDOWN);
    }
    // The loopback address that has our listeners is another one in each namespace.
    let Some(served) = Served::find(addr.netns_cookie(), settings) else {
        if rule.fail == FAIL_PASS {
            if settings.flags & SETTING_TELL_NAMESPACES != 0 {
                tell(addr, connection, EVENT_NAMESPACE_PASSED, 0);
            }
            return pass(sock, Counter::OtherNamespacePassed);
        }
        maps::count(Counter::OtherNamespaceBlocked);
        return fail(addr, sock, connection, EVENT_OTHER_NAMESPACE, EHOSTDOWN);
    };
    let listener = if to_proxy {
        listener::others_port(settings, served, set, &rule, family)
    } else {
        listener::own_port(addr, settings, served, family)
    };
    let Some(port) = listener else {
        if rule.fail == FAIL_PASS {
            return pass(sock, Counter::NoListenerPassed);
        }
        maps::count(Counter::NoListenerBlocked);
        let event = if to_proxy {
            EVENT_NO_PROXY
        } else {
            EVENT_NO_LISTENER
        };
        return fail(addr, sock, connection, event, EHOSTDOWN);
    };
    let absent = if family == FAMILY_V4 {
        SETTING_NO_V4
    } else {
        SETTING_NO_V6
    };
    // Only with a proxy, which keeps this flag true.
    if served.flags & absent != 0 && !asked.address().is_loopback() {
        // Our listener would answer, and a client that tries both families would stay with the
        // one that leads nowhere.
        maps::count(Counter::FamilyUnreachable);
        return fail(addr, sock, connection, EVENT_UNREACHABLE, ENETUNREACH);
    }
    // Its SYN would leave by the device instead of reaching the loopback listener. The connection
    // that the proxy makes for it is bound to the device instead; a proxy of others knows of none.
    if connection.device != 0 && (to_proxy || !addr.bind_to_device(0)) {
        if direct {
            return pass(sock, Counter::DevicePassed);
        }
        maps::count(Counter::DeviceBound);
        return fail(addr, sock, connection, EVENT_DEVICE_BOUND, ENODEV);
    }
    if !maps::set_client(sock, &connection) {
        if connection.device != 0 {
            addr.bind_to_device(connection.device);
        }
        maps::count(Counter::NoMemory);
        return fail(addr, sock, connection, EVENT_NO_LISTENER, ENOMEM);
    }
    maps::count(if to_proxy {
        Counter::RedirectedToProxy
    } else if rule.index == RULE_CANARY {
        Counter::Canary
    } else {
        Counter::Redirected
    });
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "redirected to port {} by rule {}", port, rule.index);
    Outcome::Redirect(port.to_be())
}

/// A socket that was redirected before may connect anew, and not to us: then the device that its
/// application had bound it to holds again. False if it cannot be bound.
#[inline(always)]
fn restore_device(addr: SockAddr, sock: Sock) -> bool {
    match maps::client(sock) {
        Some(before) if before.device != 0 && sock.bound_device() == 0 => {
            addr.bind_to_device(before.device)
        }
        _ => true,
    }
}

#[inline(always)]
pub(super) fn describe(
    settings: &Settings,
    sock: Sock,
    destination: Endpoint,
    family: u32,
    rule: &Rule,
    selection: Selected,
    cgroup: u64,
) -> Redirected {
    // bind() shows in the address that the socket would receive at. An IPv6 socket that was
    // bound to a mapped address shows it in both.
    let bound = sock.has_source_v4() || (family == FAMILY_V6 && sock.has_source_v6());
    Redirected {
        destination,
        selection: selection.class,
        rule: rule.index,
        generation: settings.generation,
        // SAFETY: helpers without arguments.
        uid: unsafe { helpers::bpf_get_current_uid_gid() } as u32,
        // SAFETY: as above; the group id is the upper half.
        gid: (unsafe { helpers::bpf_get_current_uid_gid() } >> 32) as u32,
        // SAFETY: as above; the process id is the upper half.
        pid: (unsafe { helpers::bpf_get_current_pid_tgid() } >> 32) as u32,
        mark: sock.mark(),
        device: sock.bound_device(),
        executable: selection.executable,
        cgroup,
        flags: if bound { FLAG_BOUND_SOURCE } else { 0 },
        tos: 0,
    }
}

#[inline(always)]
fn pass(sock: Sock, counter: Counter) -> Outcome {
    maps::count(counter);
    maps::forget_client(sock);
    Outcome::Pass
}

#[inline(always)]
fn fail(addr: SockAddr, sock: Sock, connection: Redirected, kind: u32, errno: u32) -> Outcome {
    maps::forget_client(sock);
    refuse(addr, connection, kind, errno)
}
