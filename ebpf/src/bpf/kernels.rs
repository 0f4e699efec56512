//! Sockets of the kernel's own. NFS, SMB, Ceph and others connect by kernel_connect(), which runs
//! the hook as for an application.
//!
//! No context or helper tells them apart, so a bit of `struct sock` is read where the kernel's BTF
//! says that it is. A task's name or a port would be anybody's to choose.

use core::ffi::c_void;

use aya_ebpf::helpers::generated as helpers;

use super::ctx::Sock;

/// Byte of `sk_kern_sock` in `struct sock`; set when this is loaded, 0 if it is not known.
#[unsafe(no_mangle)]
static KERN_SOCK_BYTE: u32 = 0;
/// Its bit in that byte.
#[unsafe(no_mangle)]
static KERN_SOCK_BIT: u32 = 0;
/// Byte of `is_mptcp` in `struct tcp_sock`; 0 if the kernel has no MPTCP.
#[unsafe(no_mangle)]
static IS_MPTCP_BYTE: u32 = 0;

/// Whether a TCP socket is the kernel's own and carries nothing of an application's. The subflows
/// of an MPTCP connection are the kernel's sockets too, with the bytes of the application.
#[inline(always)]
pub(super) fn is_own(sock: Sock) -> bool {
    // SAFETY: read-only data; volatile, or the compiler would take the zeros above for its values.
    let (byte, bit, mptcp) = unsafe {
        (
            core::ptr::read_volatile(&raw const KERN_SOCK_BYTE),
            core::ptr::read_volatile(&raw const KERN_SOCK_BIT),
            core::ptr::read_volatile(&raw const IS_MPTCP_BYTE),
        )
    };
    if byte == 0 {
        return false;
    }
    // SAFETY: a helper that takes any socket; `struct tcp_sock` begins with `struct sock`.
    let tcp = unsafe { helpers::bpf_skc_to_tcp_sock(sock.as_ptr().cast()) };
    if tcp.is_null() || read(tcp.cast(), byte) & (bit as u8) == 0 {
        return false;
    }
    mptcp == 0 || read(tcp.cast(), mptcp) == 0
}

/// A byte of the kernel's memory; 0 if it cannot be read.
#[inline(always)]
fn read(base: *const c_void, offset: u32) -> u8 {
    let mut value = 0_u8;
    // SAFETY: the helper checks the address, and writes the one byte that `value` has.
    unsafe {
        helpers::bpf_probe_read_kernel(
            (&raw mut value).cast(),
            1,
            base.wrapping_byte_add(offset as usize),
        );
    }
    value
}
