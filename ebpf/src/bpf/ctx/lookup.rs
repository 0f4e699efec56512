//! The context of sk_lookup.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{bpf_sk_lookup, bpf_sock},
    helpers::generated as helpers,
    programs::SkLookupContext,
};
use sidetrack_abi::Endpoint;

use super::{AF_INET, by_family};

/// `BPF_SK_LOOKUP_F_REPLACE`
const REPLACE: u64 = 1;

/// Context of sk_lookup.
#[derive(Clone, Copy)]
pub(in crate::bpf) struct Lookup(*mut bpf_sk_lookup);

impl Lookup {
    #[inline(always)]
    pub(in crate::bpf) fn new(ctx: &SkLookupContext) -> Self {
        Self(ctx.lookup)
    }

    #[inline(always)]
    pub(in crate::bpf) fn is_v4(self) -> bool {
        read!(self.0, family) == AF_INET
    }

    #[inline(always)]
    pub(in crate::bpf) fn protocol(self) -> u32 {
        read!(self.0, protocol)
    }

    /// In host order.
    #[inline(always)]
    pub(in crate::bpf) fn local_port(self) -> u16 {
        read!(self.0, local_port) as u16
    }

    #[inline(always)]
    pub(in crate::bpf) fn local(self) -> Endpoint {
        let address = by_family(
            self.is_v4(),
            read!(self.0, local_ip4),
            words!(self.0, local_ip6),
        );
        Endpoint::new(address, self.local_port())
    }

    #[inline(always)]
    pub(in crate::bpf) fn remote(self) -> Endpoint {
        let address = by_family(
            self.is_v4(),
            read!(self.0, remote_ip4),
            words!(self.0, remote_ip6),
        );
        Endpoint::from_be(address, read!(self.0, remote_port))
    }

    /// Steers the connection to `listener`, which stays referenced. What another program selected
    /// before is replaced: a port that takes no plain text must not stay with somebody else's
    /// choice because ours was refused with EEXIST.
    #[inline(always)]
    pub(in crate::bpf) fn assign(self, listener: *mut bpf_sock) -> bool {
        // SAFETY: a helper of this program type; the verifier knows that `listener` is a socket.
        unsafe { helpers::bpf_sk_assign(self.0.cast(), listener.cast(), REPLACE) == 0 }
    }
}
