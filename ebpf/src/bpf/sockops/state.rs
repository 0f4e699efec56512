//! STATE_CB: of the sockets that asked for it.

use aya_ebpf::bindings::{BPF_TCP_CLOSE, BPF_TCP_ESTABLISHED, BPF_TCP_LISTEN, BPF_TCP_SYN_SENT};
use sidetrack_abi::counter::Counter;

use super::{SockOps, has_mptcp, listening, outgoing, unwatch_states};
use crate::bpf::maps;

#[inline(always)]
pub(super) fn state(ops: SockOps) {
    match ops.states() {
        (BPF_TCP_LISTEN, _) => maps::remove_listening(&listening::key(ops)),
        // Only a handshake that failed leaves a note behind: all others are taken at the
        // other end.
        (BPF_TCP_SYN_SENT, BPF_TCP_CLOSE) => {
            let flow = outgoing(ops);
            maps::forget_pending(&flow);
            maps::forget_forward(&flow);
            maps::forget_dialled(&flow);
            maps::count(Counter::HandshakeFailed);
        }
        (BPF_TCP_SYN_SENT, BPF_TCP_ESTABLISHED) if !has_mptcp() => unwatch_states(ops),
        (_, BPF_TCP_CLOSE) => maps::forget_dialled(&outgoing(ops)),
        _ => {}
    }
}
