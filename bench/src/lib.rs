//! The instrument: what interception and mutual TLS cost on this host, measured side by side.
//!
//! A [`case`] is one question (what does a new connection cost?) asked of several [`path`]s (direct,
//! redirected, a pair of another make). Each path stands on a [`stage`] of its own: two network
//! namespaces on one wire, with its proxies and with an [`agent`] at each end, which makes the
//! [`load`]. The [`run`] goes round the paths in turn, forwards and backwards, so that a
//! machine that drifts does so for all of them; [`statistics`] compares what was measured in the same round, and
//! [`report`] shows it.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bench;
pub mod case;
pub mod compare;
pub mod error;
pub mod goals;
pub mod load;
pub mod measured;
pub mod path;
pub mod plan;
pub mod report;
pub mod run;
pub mod stage;
pub mod statistics;

pub use error::Trouble;
