//! The two ends of a path: a client that makes a load, a server that answers it, and the plain relay
//! between them.
//!
//! All are as cheap as can be: blocking calls, and threads that wait in accept(), so that no thread
//! is made for a connection. What they cost hides what the paths differ in.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::Trouble;

mod client;
mod order;
mod relay;
mod server;
#[cfg(test)]
mod tests;
mod verb;
mod workers;

pub use order::Client;

pub(crate) use client::Kept;
pub(crate) use verb::{BYTE, Verb};

/// Where a client connects to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The address, as an application names it.
    pub to: SocketAddr,
    /// How [`Load::Handshake`](crate::load::Load::Handshake) speaks TLS. All other loads are plain
    /// text: it is the path that encrypts them.
    pub tls: Option<Tls>,
}

/// How a client speaks TLS 1.3 itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash, Serialize)]
pub struct Tls {
    /// The name, or address, that the server's certificate must have.
    pub server_name: String,
    /// The file with the authority's certificate, PEM.
    pub ca: PathBuf,
    /// The file with the client's own certificate, PEM.
    pub certificate: PathBuf,
    /// The file with its private key, PEM.
    pub key: PathBuf,
    /// The groups for the key exchange that are offered, by their names, as `X25519` or
    /// `X25519MLKEM768`.
    pub groups: Vec<String>,
}

/// The body of the command `sidetrack bench-agent`, whose `words` name the role.
pub fn main(words: &[OsString]) -> Result<(), Trouble> {
    let words: Vec<_> = words.iter().map(|word| word.to_str()).collect();
    match *words.as_slice() {
        [Some("client")] => client::run(std::io::stdin().lock(), std::io::stdout().lock()),
        [Some("serve"), Some("--at"), Some(at)] => server::run(address(at)?),
        [Some("relay"), Some("--listen"), Some(at), Some("--user"), Some(user)] => {
            relay::run(address(at)?, self::user(user)?)
        }
        _ => Err(Trouble::new(
            "reading what the agent of the benchmark is to be",
            "it is none of `client`, `serve --at ADDRESS:PORT`, `relay --listen ADDRESS:PORT --user ID`",
        )
        .fix("let `sidetrack bench` start it")),
    }
}

fn user(word: &str) -> Result<Uid, Trouble> {
    let id = word.parse().map(Uid::from_raw);
    id.map_err(|error| {
        Trouble::new(format!("reading the user `{word}`"), error).fix("write the number of its id")
    })
}

fn address(word: &str) -> Result<SocketAddr, Trouble> {
    word.parse().map_err(|error| {
        Trouble::new(format!("reading the address `{word}`"), error)
            .fix("write it as 10.99.0.2:7000 or [fd99::2]:7000")
    })
}
