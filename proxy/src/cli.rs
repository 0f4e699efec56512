//! What people type.

pub mod certs;
