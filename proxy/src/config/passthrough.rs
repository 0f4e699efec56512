//! `mode = "tls-passthrough"` of a listener: whose TLS it is that clients bring.

use super::http::HostPattern;

/// Which upstream has which server name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// `servers`: names, each once, with the name of an upstream.
    pub named: Vec<(HostPattern, String)>,
    /// `upstream`: for clients that ask for no name, or for one that nobody has; `None` refuses
    /// them. There if `named` is empty.
    pub other: Option<String>,
}
