//! STATE_CB: of the sockets that asked for it.

use aya_ebpf::bindings::{BPF_TCP_CLOSE, BPF_TCP_LISTEN, BPF_TCP_SYN_SENT};
use sidetrack_abi::counter::Counter;

use super::{SockOps, listening, outgoing};
use crate::bpf::maps;

#[inline(always)]
pub(super) fn state(ops: SockOps) {
    match ops.states() {
        (BPF_TCP_LISTEN, _) => maps::remove_listening(&listening::key(ops)),
        // What was noted of the flow has been taken at the other end, unless that never came to
        // be: a handshake that failed, or one that the client gave up while the accept queue was
        // full. Whoever has this source port next must not find it. Of a client that connects,
        // writes and closes nothing is lost: its last state change waits for the other end's.
        (before, BPF_TCP_CLOSE) => {
            let flow = outgoing(ops);
            maps::forget_pending(&flow);
            maps::forget_forward(&flow);
            maps::forget_dialled(&flow);
            if before == BPF_TCP_SYN_SENT {
                maps::count(Counter::HandshakeFailed);
            }
        }
        _ => {}
    }
}
