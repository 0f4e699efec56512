//! What a certificate file holds, for people and for scripts.

use std::{fmt, path::Path, time::SystemTime};

use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use serde::Serialize;
use webpki::anchor_from_trusted_cert;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use super::{CertsError, files};
use crate::tls::judge::{Bundle, Role};

/// One certificate.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The file.
    pub file: String,
    /// Its place in the file, from 1.
    pub position: usize,
    /// Subject, as OpenSSL prints it.
    pub subject: String,
    /// Issuer, as OpenSSL prints it.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Whether it may sign others.
    pub authority: bool,
    /// SPIFFE IDs and other URIs.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<String>,
    /// First second of its validity, RFC 3339.
    pub not_before: String,
    /// Last second of its validity, RFC 3339.
    pub not_after: String,
    /// Whole days until it expires; negative if it has.
    pub days_left: i64,
    /// `valid`, `expired` or `not yet valid`.
    pub state: &'static str,
    /// Whether the given authority vouches for it now; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
}

/// Whether an authority vouches for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// As a TLS client and server.
    Yes,
    /// Not, and why.
    No(String),
}

/// Reads every certificate of `file`, and verifies each if `authorities` are given. What
/// follows the first certificate of a file counts as its chain.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn show(file: &Path, authorities: Option<&Bundle>) -> Result<Vec<Shown>, CertsError> {
    let chain = certificates(file)?;
    let now = UnixTime::now();
    chain
        .iter()
        .enumerate()
        .map(|(at, der)| {
            let (_, parsed) = parse_x509_certificate(der).map_err(|error| {
                unfit(
                    file,
                    format!("certificate {} cannot be parsed: {error}", at + 1),
                )
            })?;
            let mut shown = describe(&parsed, now);
            shown.file = file.display().to_string();
            shown.position = at + 1;
            let others = chain.get(at + 1..).unwrap_or_default();
            shown.verified = authorities.map(|bundle| verify(bundle, der, others, now));
            Ok(shown)
        })
        .collect()
}

/// Reads the authorities of `file`, to verify others against.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn authorities(file: &Path) -> Result<Bundle, CertsError> {
    let anchors = certificates(file)?
        .iter()
        .map(|der| {
            anchor_from_trusted_cert(der)
                .map(|anchor| anchor.to_owned())
                .map_err(|error| unfit(file, error.to_string()))
        })
        .collect::<Result<_, _>>()?;
    Ok(Bundle {
        anchors,
        crls: Vec::new(),
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertsError> {
    let text = files::read_text(file)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unfit(file, format!("its PEM is damaged: {error}")))?;
    if found.is_empty() {
        return Err(unfit(file, "it holds no certificate".into()));
    }
    Ok(found)
}

fn unfit(path: &Path, problem: String) -> CertsError {
    CertsError::Unfit {
        path: path.into(),
        problem,
        fix: "name a PEM file with BEGIN CERTIFICATE blocks",
    }
}

fn verify(
    bundle: &Bundle,
    der: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Verified {
    for (role, word) in [(Role::Client, "client"), (Role::Server, "server")] {
        if let Err(error) = bundle.verify(der, chain, role, now) {
            return Verified::No(format!("as a TLS {word}: {error}"));
        }
    }
    Verified::Yes
}

fn describe(parsed: &X509Certificate<'_>, now: UnixTime) -> Shown {
    let (mut uris, mut dns, mut ips) = (Vec::new(), Vec::new(), Vec::new());
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    ips.extend(crate::tls::address(bytes).map(|ip| ip.to_string()));
                }
                _ => {}
            }
        }
    }
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let now = now.as_secs().cast_signed();
    let state = match (from.timestamp() <= now, now <= until.timestamp()) {
        (true, true) => "valid",
        (false, _) => "not yet valid",
        (_, false) => "expired",
    };
    let rfc3339 = |time| {
        let time: SystemTime = crate::tls::system_time(time);
        humantime::format_rfc3339_seconds(time).to_string()
    };
    Shown {
        file: String::new(),
        position: 0,
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        serial: parsed.raw_serial_as_string(),
        authority: parsed.is_ca(),
        uris,
        dns,
        ips,
        not_before: rfc3339(from),
        not_after: rfc3339(until),
        days_left: (until.timestamp() - now).div_euclid(86_400),
        state,
        verified: None,
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| match value {
            "" => Ok(()),
            value => writeln!(f, "  {name:<10}{}", value.escape_debug()),
        };
        let kind = if self.authority { "authority" } else { "leaf" };
        line("subject", &self.subject)?;
        line("kind", kind)?;
        line("uri", &self.uris.join(", "))?;
        line("dns", &self.dns.join(", "))?;
        line("ip", &self.ips.join(", "))?;
        line("issuer", &self.issuer)?;
        line("serial", &self.serial)?;
        line(
            "validity",
            &format!("{} until {}", self.not_before, self.not_after),
        )?;
        line(
            "state",
            &match self.state {
                "valid" => format!("valid, {} days left", self.days_left),
                state => state.to_owned(),
            },
        )?;
        match &self.verified {
            None => Ok(()),
            Some(Verified::Yes) => line("verified", "yes, as a TLS client and server"),
            Some(Verified::No(why)) => line("verified", &format!("NO {why}")),
        }
    }
}
