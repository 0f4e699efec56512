//! The programs. Each hook has its file under `bpf/`; this file only names them for the kernel.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        internal_features,
        reason = "the only way to an atomic addition on this target"
    )
)]

#[cfg(target_arch = "bpf")]
mod bpf;

/// On the host this binary is empty: it exists so that one `cargo clippy --workspace` covers
/// the crate.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that this is never reached; an endless loop would be rejected too.
    loop {}
}

/// Several helpers are for GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
