//! Sidetrack: an eBPF-accelerated socket redirector.
//!
//! The modules follow the path of a connection:
//!
//! application → [`kernel`] (the programs that redirect, and all that we ask of them) →
//! [`outbound`] (accept, original destination) → [`policy`] (a permit or a
//! [`refusal::Refusal`]) → [`tls`] (who is there) → [`tunnel`] or [`relay`] (bytes) → the peer's
//! [`inbound`] → its application. [`record`] writes one line at the end.
//!
//! What comes without being intercepted: [`listener`] (accept, PROXY header, TLS) → [`policy`] →
//! [`upstream`] (which endpoint, and whether it answers) → [`relay`], or for requests [`http`].
//!
//! Around that: [`config`] (what people write), [`app`] (start, reload, drain), [`uncovered`]
//! (what goes past the redirect), [`control`] (what `status` and `connections` ask), [`cli`] (what people type), [`certs`] (a small CA).

#![deny(unsafe_code)]

pub mod addr;
pub mod app;
pub mod canary;
pub mod certs;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod gateway;
pub mod holder;
pub mod http;
pub mod identity;
pub mod inbound;
pub mod kernel;
pub mod listener;
pub mod live;
pub mod netns;
pub mod outbound;
pub mod policy;
pub mod proxy_header;
pub mod record;
pub mod refusal;
pub mod relay;
pub mod socket;
pub mod telemetry;
pub mod tls;
pub mod tunnel;
pub mod uncovered;
pub mod upstream;
