//! sk_lookup: connections from outside to a governed port go to the proxy.
//!
//! Runs once for each SYN that no established socket takes. The program type has no helper for
//! the namespace's cookie, so that one instance is loaded for each namespace, with its cookie as
//! a constant.

use aya_ebpf::{
    bindings::sk_action::{SK_DROP, SK_PASS},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use sidetrack_abi::{
    Address, Endpoint, FlowKey, ListenerKey,
    counter::Counter,
    flow::{FAMILY_V4, FAMILY_V6},
    inbound::{
        LISTENING_ALL, LISTENING_V6_ONLY, ListeningKey, LocalKey, PORT_ACCEPTS_PLAIN,
        PORT_IN_NAMESPACES,
    },
};

use super::{
    ctx::{IPPROTO_TCP, Lookup},
    maps::{self, Listener, RuleSet, Served},
};

/// Cookie of the network namespace that this instance is attached to; set when it is loaded.
#[unsafe(no_mangle)]
static NETNS_COOKIE: u64 = 0;

#[sk_lookup]
fn st_sk_lookup(ctx: SkLookupContext) -> u32 {
    steer(Lookup::new(&ctx))
}

#[inline(always)]
fn steer(lookup: Lookup) -> u32 {
    let Some((set, settings)) = RuleSet::active() else {
        return SK_PASS;
    };
    if lookup.protocol() != IPPROTO_TCP {
        return SK_PASS;
    }
    let Some(port) = set.inbound_port(lookup.local_port()) else {
        return SK_PASS;
    };
    // SAFETY: read-only data that the loader sets before the program is verified; volatile, or
    // the compiler would take the zero above for its value.
    let netns = unsafe { core::ptr::read_volatile(&raw const NETNS_COOKIE) };
    if netns != settings.netns && port.flags & PORT_IN_NAMESPACES == 0 {
        return SK_PASS;
    }
    let (local, remote) = (lookup.local(), lookup.remote());
    let plain = port.flags & PORT_ACCEPTS_PLAIN != 0;
    let alive = maps::is_proxy_alive(settings);
    // What was an own address when the daemon last looked may be anybody's by now.
    if is_from_this_host(netns, local, remote, alive || plain) {
        return SK_PASS;
    }
    if !is_listening(netns, local, lookup.is_v4()) {
        maps::count(Counter::NotListening);
        // For a port that takes no plain text there is no way past the proxy, also not in the
        // moment in which an application starts to listen. To the client this is a closed port.
        return if plain { SK_PASS } else { SK_DROP };
    }
    let family = if lookup.is_v4() { FAMILY_V4 } else { FAMILY_V6 };
    let slots = Served::find(netns, settings).map_or(0, |served| served.slots);
    let slot = u32::from(remote.port()) % slots.max(1);
    let key = alive.then_some(ListenerKey {
        netns,
        family,
        slot,
    });
    let Some(listener) = key.and_then(|key| Listener::inbound(&key)) else {
        maps::count(Counter::InboundNoListener);
        return if plain { SK_PASS } else { SK_DROP };
    };
    if lookup.assign(listener.as_ptr()) {
        maps::count(Counter::Steered);
        SK_PASS
    } else {
        maps::count(Counter::InboundNoListener);
        SK_DROP
    }
}

/// The interface does not tell: a connection of this host to its own address is seen on the
/// device that has the address, not on lo (`ip_route_output_key_hash_rcu()`, net/ipv4/route.c).
/// The source does: nobody else can finish a handshake from an address of ours, as long as the
/// own addresses are `known`.
#[inline(always)]
fn is_from_this_host(netns: u64, local: Endpoint, remote: Endpoint, known: bool) -> bool {
    let address = remote.address();
    if address.is_hop() {
        // By the note of its flow and not by its source, which holds only while it is routed to
        // this host.
        return maps::is_forward(&FlowKey {
            netns,
            source: remote,
            destination: local,
        });
    }
    address.is_loopback() || (known && maps::is_local(&LocalKey { netns, address }))
}

/// Whether a socket would take it: bound to the address, to all of the family, or, for IPv4, to
/// `::` without IPV6_V6ONLY.
#[inline(always)]
fn is_listening(netns: u64, local: Endpoint, v4: bool) -> bool {
    let key = |address, kind| ListeningKey {
        netns,
        endpoint: Endpoint::from_be(address, local.port_be()),
        kind,
    };
    if maps::listening(&key(local.address(), LISTENING_ALL)) > 0 {
        return true;
    }
    // Hidden from the compiler, which would write the zeros in a loop over bytes: the verifier rejects
    // that without CAP_PERFMON, since what it adds to the address is another number each time.
    let zero = core::hint::black_box(0);
    let all = Address::from_words([zero; 4]);
    if !v4 {
        return maps::listening(&key(all, LISTENING_ALL)) > 0;
    }
    if maps::listening(&key(Address::from_v4_word(0), LISTENING_ALL)) > 0 {
        return true;
    }
    let there = maps::listening(&key(all, LISTENING_ALL));
    there > 0 && there > maps::listening(&key(all, LISTENING_V6_ONLY))
}
