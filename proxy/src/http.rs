//! What is done with the requests of a listener of mode "http", after it is known whose they are:
//! [`route`] (which route), [`rewrite`] (what the upstream is asked for), [`hop_by_hop`] and
//! [`forwarded`] (which headers pass, and which are set).

pub mod forwarded;
pub mod hop_by_hop;
pub mod path;
pub mod rewrite;
pub mod route;
