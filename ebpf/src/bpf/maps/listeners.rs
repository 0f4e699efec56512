//! The registries of the proxy's listeners.

use aya_ebpf::{bindings::bpf_sock, helpers::generated as helpers};
use sidetrack_abi::ListenerKey;

use super::{INBOUND_LISTENERS, LISTENERS};

/// A listener that the kernel looked up; released when dropped, as the verifier demands.
pub(in crate::bpf) struct Listener(*mut bpf_sock);

impl Listener {
    #[inline(always)]
    fn find(map: *mut core::ffi::c_void, key: &ListenerKey) -> Option<Self> {
        // SAFETY: a lookup in a socket map gives a referenced socket or null.
        let raw = unsafe { helpers::bpf_map_lookup_elem(map, (&raw const *key).cast()) };
        if raw.is_null() {
            None
        } else {
            Some(Self(raw.cast()))
        }
    }

    /// The listener for connections of this host's applications, the proxy's or somebody else's.
    /// Its entry is gone as soon as the listener is closed: this is registry and port in one.
    #[inline(always)]
    pub(in crate::bpf) fn outbound(key: &ListenerKey) -> Option<Self> {
        Self::find((&raw const LISTENERS).cast_mut().cast(), key)
    }

    /// The proxy's listener for connections from outside.
    #[inline(always)]
    pub(in crate::bpf) fn inbound(key: &ListenerKey) -> Option<Self> {
        Self::find((&raw const INBOUND_LISTENERS).cast_mut().cast(), key)
    }

    /// In host order.
    #[inline(always)]
    pub(in crate::bpf) fn port(&self) -> u16 {
        // SAFETY: the socket is referenced until drop.
        (unsafe { core::ptr::read_volatile(&raw const (*self.0).src_port) }) as u16
    }

    #[inline(always)]
    pub(in crate::bpf) fn as_ptr(&self) -> *mut bpf_sock {
        self.0
    }
}

impl Drop for Listener {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the reference that `find` took.
        unsafe { helpers::bpf_sk_release(self.0.cast()) };
    }
}
