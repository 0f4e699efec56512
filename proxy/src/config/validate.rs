//! From the file as written to [`Config`], with every error reported at once.

use std::{fs::File, io::Read, path::Path, str::FromStr};

use super::{
    Config, IdentityFiles, Instance, TrustFiles,
    errors::{ConfigErrors, Problems},
    file,
    shape::{self, join},
};
use crate::identity::TrustDomain;

mod cgroups;
mod claims;
mod daemon;
mod gateway;
mod handshakes;
mod http;
mod inbound;
mod listener;
mod netns;
mod outbound;
mod passthrough;
mod protocol;
mod proxies;
mod references;
mod selection;
mod upstream;
mod values;

/// Why a text cannot be an instance's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance's name has 1 to 32 of a-z, 0-9 and '-', since cgroups and pins bear it")]
pub struct BadInstance;

impl FromStr for Instance {
    type Err = BadInstance;

    fn from_str(text: &str) -> Result<Self, BadInstance> {
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(BadInstance)
        }
    }
}

impl Config {
    /// Reads and checks a file. Files that it names are not opened.
    ///
    /// # Errors
    /// All that is wrong with it, or one error without a key if it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        /// A configuration of ten thousand rules stays far below this; a device or a log
        /// that was named by mistake does not.
        const LARGEST: u64 = 16 << 20;
        let cannot = |reason: String, fix: &str| {
            let mut problems = Problems::default();
            problems.missing("", reason, fix);
            problems.into_errors(path.into())
        };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        match read {
            Ok(read) if read as u64 >= LARGEST => Err(cannot(
                "the file is larger than 16 MiB".into(),
                "name the configuration with --config",
            )),
            Ok(_) => Self::parse(&text, path),
            Err(error) => Err(cannot(
                format!("reading the configuration failed: {error}"),
                "name an existing, readable TOML file with --config",
            )),
        }
    }

    /// Checks a text that was read from `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::default();
        let Some(file) = shape::read(text, &mut problems) else {
            return Err(problems.into_errors(path.into()));
        };
        let mut config = convert(&mut problems, &file, path);
        if !problems.is_empty() {
            return Err(problems.into_errors(path.into()));
        }
        config.warnings = problems.warnings;
        Ok(config)
    }
}

fn convert(problems: &mut Problems, file: &file::File, path: &Path) -> Config {
    let intercept = daemon::intercept(problems, &file.intercept);
    let identities = file.identity.iter().filter_map(|(name, files)| {
        let key = join("identity", name);
        let fine = values::name(problems, &key, name);
        let mut read = |part: &str, file, what| {
            values::file(problems, &format!("{key}.{part}"), path, file, what)
        };
        let certificate = read("certificate", files.certificate.as_ref(), "its PEM file");
        let private_key = read("private_key", files.private_key.as_ref(), "its PEM file");
        let files = IdentityFiles {
            certificate: certificate?,
            private_key: private_key?,
        };
        fine.then(|| (name.clone(), files))
    });
    let identities = identities.collect();
    let trust = file.trust.iter().filter_map(|(name, files)| {
        let key = join("trust", name);
        let domain = name.parse::<TrustDomain>();
        if let Err(error) = &domain {
            problems.missing(
                &key,
                error.to_string(),
                "write it as in spiffe://DOMAIN/…, in quotes",
            );
        }
        let bundle_key = format!("{key}.bundle");
        let bundle = files.bundle.as_ref();
        let bundle = values::file(problems, &bundle_key, path, bundle, "its PEM file");
        let crl = files.crl.as_ref().and_then(|crl| {
            let what = "the PEM file, or leave the key out";
            values::file(problems, &format!("{key}.crl"), path, Some(crl), what)
        });
        let bundle = bundle?;
        Some((domain.ok()?, TrustFiles { bundle, crl }))
    });
    let trust = trust.collect();
    let selects = file.select.iter().filter_map(|(name, select)| {
        let key = join("select", name);
        let fine = values::name(problems, &key, name);
        let select = selection::select(problems, &key, select, &intercept);
        fine.then(|| (name.clone(), select))
    });
    let selects = selects.collect();
    netns::warn_of_too_many(problems, &selects);
    inbound::selects(problems, &file.inbound, &selects);
    let proxies = proxies::proxies(problems, file);
    let inbound = inbound::rules(problems, &file.inbound);
    let upstreams = upstream::upstreams(problems, file);
    let listeners = listener::listeners(problems, path, file, &inbound);
    listener::upstreams(problems, &listeners, &upstreams);
    inbound::served(problems, &inbound, &intercept);
    Config {
        path: path.into(),
        intercepts: file.listener.is_empty() || concerns_interception(problems),
        daemon: daemon::daemon(problems, &file.daemon),
        limits: daemon::limits(problems, &file.limits),
        log: daemon::log(problems, path, &file.log),
        identities,
        trust,
        selects,
        proxies,
        upstreams,
        listeners,
        outbound: outbound::rules(problems, &file.outbound, &intercept),
        gateway: gateway::gateway(problems, file, &inbound),
        inbound,
        intercept,
        warnings: Vec::new(),
    }
}

/// Whether the file has anything that only a daemon with its programs in the kernel can do.
fn concerns_interception(problems: &Problems) -> bool {
    let tables = [
        "intercept",
        "outbound",
        "inbound",
        "gateway",
        "select",
        "proxy",
    ];
    tables.into_iter().any(|table| problems.has(table))
}

/// The key of a trust bundle's table.
fn trust_key(domain: &str) -> String {
    join("trust", domain)
}

#[cfg(test)]
mod tests;
