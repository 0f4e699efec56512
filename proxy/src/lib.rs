//! Sidetrack: an eBPF-accelerated socket redirector.
//!
//! The modules follow the path of a connection:
//!
//! application → `kernel` (the programs that redirect, and all that we ask of them) →
//! `outbound` (accept, original destination) → `policy` (a `Permit` or a
//! [`refusal::Refusal`]) → [`tls`] (who is there) → [`tunnel`] or [`relay`] (bytes) → the peer's
//! `inbound` → its application. [`record`] writes one line at the end.
//!
//! Around that: [`config`] (what people write), `app` (start, reload, drain), `control`
//! (what `status` and `connections` ask), [`cli`] (what people type), [`certs`] (a small CA).

#![deny(unsafe_code)]

pub mod addr;
pub mod certs;
pub mod cli;
pub mod config;
pub mod identity;
pub mod kernel;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod telemetry;
pub mod tls;
pub mod tunnel;
