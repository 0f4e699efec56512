//! TCP_LISTEN_CB: an application listens. Called once for each socket, not again when listen()
//! changes its backlog (`__inet_listen_sk()`, net/ipv4/af_inet.c).

use sidetrack_abi::inbound::{LISTENING_ALL, ListeningKey};

use super::{SockOps, watch_states};
use crate::bpf::maps;

#[inline(always)]
pub(super) fn listening(ops: SockOps) {
    maps::add_listening(&key(ops));
    watch_states(ops);
}

#[inline(always)]
pub(super) fn key(ops: SockOps) -> ListeningKey {
    ListeningKey {
        netns: ops.netns_cookie(),
        endpoint: ops.local(),
        kind: LISTENING_ALL,
    }
}
