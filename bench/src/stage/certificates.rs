//! Certificates of both hosts, made by `sidetrack certs` as a user would.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{CLIENT, SERVER};
use crate::Trouble;

/// The authority's domain.
const DOMAIN: &str = "bench.example";

/// PEM files: an authority, and a credential for each end; keys are ECDSA P-256.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The client's side.
    pub client: Credential,
    /// The server's side.
    pub server: Credential,
}

/// Who one end is.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Certificate, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// SPIFFE ID in it.
    pub spiffe: String,
    /// DNS name in it.
    pub name: String,
}

impl Certificates {
    /// Makes them in `folder`, by running `sidetrack` with such words.
    pub(super) fn make(
        folder: &Path,
        run: impl Fn(&[&OsStr]) -> Result<(), Trouble>,
    ) -> Result<Self, Trouble> {
        let words = |before: &[&str], after: &[&str]| {
            let before = before.iter().map(OsStr::new);
            let dir = [OsStr::new("--dir"), folder.as_os_str()];
            let all: Vec<&OsStr> = before
                .chain(dir)
                .chain(after.iter().map(OsStr::new))
                .collect();
            run(&all)
        };
        words(&["certs", "init"], &["--trust-domain", DOMAIN])?;
        let issue = |end: &str, address: &str| {
            let credential = Credential {
                certificate: folder.join(format!("{end}.crt")),
                key: folder.join(format!("{end}.key")),
                spiffe: format!("spiffe://{DOMAIN}/{end}"),
                name: format!("{end}.{DOMAIN}"),
            };
            let names = ["--spiffe", &credential.spiffe, "--dns", &credential.name];
            words(
                &["certs", "issue", end],
                &[&names[..], &["--ip", address]].concat(),
            )?;
            Ok::<_, Trouble>(credential)
        };
        Ok(Self {
            ca: folder.join("ca.crt"),
            client: issue("client", &CLIENT.to_string())?,
            server: issue("server", &SERVER.to_string())?,
        })
    }

    /// The trust domain of both.
    pub fn domain(&self) -> &'static str {
        DOMAIN
    }
}
