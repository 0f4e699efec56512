//! PASSIVE_ESTABLISHED_CB: the accepted socket exists and accept() has not returned it.
//!
//! What was noted of its flow moves to the socket itself, which frees it when it goes. Deleting
//! when the *client* closes instead would lose the destination of those who connect, write and
//! close before the proxy accepts.

use sidetrack_abi::counter::Counter;

use super::{SockOps, incoming, unwatch_states};
use crate::bpf::maps;

#[inline(always)]
pub(super) fn accepted(ops: SockOps) {
    // Inherited from the listener, where it counts listening sockets.
    unwatch_states(ops);
    let Some(sock) = ops.sock() else {
        return;
    };
    let flow = incoming(ops);
    if let Some(redirected) = maps::take_pending(&flow) {
        if maps::set_accepted(sock, &redirected) {
            maps::count(Counter::Accepted);
        }
        return;
    }
    let served = maps::take_forward(&flow).is_some_and(|client| maps::set_served(sock, &client));
    if served {
        maps::count(Counter::Served);
    } else if flow.source.address().is_hop() {
        // The application sees the hop's address, which is nobody's.
        maps::count(Counter::ServedUnknown);
    }
}
