//! sockops: what happens to a socket between connect() and accept().

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use sidetrack_abi::FlowKey;

use super::ctx::SockOps;

mod accepted;
mod connecting;
mod listening;
mod state;

#[sock_ops]
fn st_sockops(ctx: SockOpsContext) -> u32 {
    let ops = SockOps::new(&ctx);
    match ops.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting::connecting(ops),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted::accepted(ops),
        BPF_SOCK_OPS_TCP_LISTEN_CB => listening::listening(ops),
        BPF_SOCK_OPS_STATE_CB => state::state(ops),
        _ => {}
    }
    1
}

/// The flow as the connecting side names it.
#[inline(always)]
fn outgoing(ops: SockOps) -> FlowKey {
    FlowKey {
        netns: ops.netns_cookie(),
        source: ops.local(),
        destination: ops.remote(),
    }
}

/// The same flow as the accepting side sees it.
#[inline(always)]
fn incoming(ops: SockOps) -> FlowKey {
    FlowKey {
        netns: ops.netns_cookie(),
        source: ops.remote(),
        destination: ops.local(),
    }
}

#[inline(always)]
fn watch_states(ops: SockOps) {
    ops.set_callback_flags(ops.callback_flags() | BPF_SOCK_OPS_STATE_CB_FLAG);
}

#[inline(always)]
fn unwatch_states(ops: SockOps) {
    let flags = ops.callback_flags();
    if flags & BPF_SOCK_OPS_STATE_CB_FLAG != 0 {
        ops.set_callback_flags(flags & !BPF_SOCK_OPS_STATE_CB_FLAG);
    }
}
