//! Sidetrack end to end, against the real kernel: the real binary, real applications, two hosts.
//!
//! Every test needs root and says so by `#[ignore]`: `cargo xtask test` runs them all.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says what broke by panicking"
)]

mod addresses;
mod baseline;
mod bytes;
mod detach;
mod exec;
mod inbound;
mod interop;
mod languages;
mod lifecycle;
mod many;
mod misuse;
mod original_dst;
mod proxies;
mod records;
mod redirect;
mod refused;
