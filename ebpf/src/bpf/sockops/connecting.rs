//! TCP_CONNECT_CB: the source port is chosen and the SYN not yet built, the only such moment
//! (the first statement of `tcp_connect()`, net/ipv4/tcp_output.c).

use sidetrack_abi::{
    counter::Counter,
    flow::{OWN_FORWARD, OWN_HOP},
};

use super::{SockOps, outgoing, watch_states};
use crate::bpf::maps;

#[inline(always)]
pub(super) fn connecting(ops: SockOps) {
    let Some(sock) = ops.sock() else {
        return;
    };
    if let Some(redirected) = maps::client(sock) {
        let flow = outgoing(ops);
        if maps::note_pending(&flow, &redirected) {
            maps::count(Counter::Pending);
            if maps::has_mptcp(flow.netns) {
                maps::note_dialled(&flow, &redirected.destination);
            }
            watch_states(ops);
        } else {
            maps::count(Counter::PendingFailed);
        }
        return;
    }
    if let Some(own) = maps::own(sock) {
        let flow = outgoing(ops);
        let shown = match own.kind {
            OWN_FORWARD => own.client,
            OWN_HOP => flow.source,
            _ => return,
        };
        // Without the note sk_lookup sends the SYN to the proxy, which resets it.
        if maps::note_forward(&flow, &shown) {
            watch_states(ops);
        } else {
            maps::count(Counter::PendingFailed);
        }
        return;
    }
    // Somebody connects to the proxy's port himself and may have a source port of before: what
    // was noted for that one is not his. Listeners are on the loopback address, so that
    // everybody else is spared the look-up.
    if ops.remote().address().is_loopback() {
        maps::forget_pending(&outgoing(ops));
    }
}
