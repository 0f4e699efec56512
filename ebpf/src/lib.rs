//! What kernel and user space agree on (the ABI) and the decision that both make.
//!
//! The programs are this crate's binary, `src/main.rs`; the daemon depends on this library
//! alone, so that every layout, name and rule has one definition.
//!
//! - Every type here is `repr(C)` without implicit padding, so that a map key never carries
//!   uninitialised bytes; each has a size assertion beside it.
//! - Addresses are 16 bytes in network order, IPv4 as IPv4-mapped IPv6; ports are in network
//!   order. Everything else is in host order, which both sides share.
//! - [`ABI_VERSION`] changes with any layout; maps of another version are never adopted.
#![cfg_attr(target_arch = "bpf", no_std)]

/// Version of every layout in this crate.
pub const ABI_VERSION: u32 = 1;

pub mod addr;
pub mod counter;
pub mod decision;
pub mod event;
pub mod executable;
pub mod flow;
pub mod inbound;
pub mod names;
pub mod namespace;
pub mod rules;
pub mod settings;

#[cfg(not(target_arch = "bpf"))]
mod pod;

pub use addr::{Address, Endpoint};
pub use decision::{Query, Verdict, decide};
pub use flow::{FlowKey, ListenerKey, OwnSocket, Redirected};
