//! Requests of clients of listeners, one connection after its handshake.
//!
//! ```text
//! serve: hyper --head--> exchange: host --> route --> allow --> answer | redirect | forward --> upstream
//!                            body: Up, frame by frame ------------------------------------>
//!        client <-------------------------------------------- Down, frame by frame <-- its answer
//! ```
//!
//! What is asked for is found in `host`, [`route`] and [`path`]; what passes of a head in [`rewrite`],
//! [`hop_by_hop`], [`forwarded`] and [`headers`]. `vigil` ends what does not move, `upgrade` carries what has
//! become another protocol.

mod answer;
mod body;
mod exchange;
mod forward;
pub mod forwarded;
pub mod headers;
pub mod hop_by_hop;
mod host;
mod motion;
pub mod path;
pub mod rewrite;
pub mod route;
pub mod serve;
pub mod session;
mod streams;
mod upgrade;
mod vigil;
pub mod wire;
