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
mod bench;
mod bytes;
mod cgroups;
mod datagrams;
mod detach;
mod exec;
mod fail_closed;
mod gateway;
mod hop;
mod http;
mod inbound;
mod interop;
mod languages;
mod liars;
mod lifecycle;
mod listeners;
mod local;
mod many;
mod memory;
mod misuse;
mod nat;
mod netns;
mod options;
mod original_dst;
mod ports;
mod proof;
mod proxies;
mod records;
mod redirect;
mod refused;
mod reload;
mod rotation;
mod selection;
mod sockets;
mod storm;
mod strangers;
mod tunnel;
