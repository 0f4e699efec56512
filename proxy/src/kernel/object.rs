//! The BPF object that this binary carries.

/// The object's bytes; empty in a binary that was built without it.
pub static EMBEDDED: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sidetrack.bpf.o"));

/// SHA-256 of [`EMBEDDED`] in hexadecimal; empty without an object.
pub const SHA256: &str = env!("SIDETRACK_BPF_SHA256");

/// This binary carries no BPF object.
#[derive(Debug, thiserror::Error)]
#[error(
    "this binary was built without its BPF object and cannot redirect anything; \
     build it with `cargo xtask build`, which leaves target/release/sidetrack"
)]
pub struct Missing;

/// The object, if this binary has it.
pub fn embedded() -> Result<&'static [u8], Missing> {
    if EMBEDDED.is_empty() {
        Err(Missing)
    } else {
        Ok(EMBEDDED)
    }
}
