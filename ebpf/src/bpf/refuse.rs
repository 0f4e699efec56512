//! How connect() and sending fail.

use aya_ebpf::helpers::generated as helpers;
use sidetrack_abi::{Redirected, event::Refused};

use super::{connect::Outcome, ctx::SockAddr, maps};

/// Whether the kernel has `bpf_set_retval`, which came with Linux 5.18; set when this is loaded.
/// The verifier takes it for a constant and does not look at the call where it is 0.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: u32 = 0;

/// What connect() gives when a program fails it and says no more.
const EPERM: u32 = 1;

/// Fails it, and tells user space.
#[inline(always)]
pub(super) fn refuse(addr: SockAddr, connection: Redirected, kind: u32, errno: u32) -> Outcome {
    let errno = errno_that_shows(errno);
    tell(addr, connection, kind, errno);
    fail_with(errno)
}

/// The errno that the application will see.
#[inline(always)]
pub(super) fn errno_that_shows(wanted: u32) -> u32 {
    if has_set_retval() { wanted } else { EPERM }
}

#[inline(always)]
fn has_set_retval() -> bool {
    // SAFETY: read-only data; volatile, or the compiler would take the zero above for its value.
    unsafe { core::ptr::read_volatile(&raw const HAS_SET_RETVAL) != 0 }
}

#[inline(always)]
pub(super) fn tell(addr: SockAddr, connection: Redirected, kind: u32, errno: u32) {
    maps::tell(&Refused {
        kind,
        errno,
        netns: addr.netns_cookie(),
        connection,
    });
}

#[inline(always)]
pub(super) fn fail_with(errno: u32) -> Outcome {
    if has_set_retval() {
        // SAFETY: a helper of these program types; a value between -4095 and 0.
        let _ = unsafe { helpers::bpf_set_retval(-((errno & 0xfff) as i32)) };
    }
    Outcome::Fail
}
