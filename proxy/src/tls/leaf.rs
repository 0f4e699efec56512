//! What a leaf certificate says about its bearer. Nothing here is proven yet.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate, time::ASN1Time,
};

use crate::{
    identity::{PeerIdentity, SpiffeId},
    refusal::{Reason, Refusal},
};

/// The last second of the year 9999, the latest that a certificate can name.
const LATEST: i64 = 253_402_300_799;

/// X.520 bounds a common name to 64 characters; it is printed, so longer ones are cut.
const COMMON_NAME_CHARS: usize = 64;

/// Reads the names of a leaf.
///
/// # Errors
/// `BadCertificate` if it cannot be parsed, or names more than one SPIFFE ID, or a SPIFFE ID and
/// another URI (X509-SVID section 2: exactly one URI), or one that is not a valid SPIFFE ID.
pub(crate) fn identity(der: &CertificateDer<'_>) -> Result<PeerIdentity, Refusal> {
    let bad = |detail: String| Refusal::new(Reason::BadCertificate, detail);
    let (_, leaf) = parse_x509_certificate(der)
        .map_err(|error| bad(format!("the certificate cannot be parsed: {error}")))?;
    let mut identity = PeerIdentity {
        spiffe: None,
        dns: Vec::new(),
        ips: Vec::new(),
        common_name: common_name(&leaf),
        not_after: system_time(leaf.validity().not_after),
    };
    let names = leaf
        .subject_alternative_name()
        .map_err(|error| bad(format!("its alternative names cannot be read: {error}")))?;
    let Some(names) = names else {
        return Ok(identity);
    };
    let mut uris = 0;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => {
                uris += 1;
                // A scheme in another case must not pass as "some other URI".
                if uri
                    .get(..7)
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
                {
                    // What a stranger sent is not repeated at any length.
                    if uri.len() > 2048 {
                        return Err(bad("its SPIFFE ID is longer than 2,048 bytes".into()));
                    }
                    let id: SpiffeId = uri.parse().map_err(|error| bad(format!("{error}")))?;
                    if identity.spiffe.replace(id).is_some() {
                        return Err(bad("it names more than one SPIFFE ID".into()));
                    }
                }
            }
            GeneralName::DNSName(name) if printable_name(name) => {
                identity.dns.push(name.to_ascii_lowercase());
            }
            GeneralName::IPAddress(bytes) => identity.ips.extend(address(bytes)),
            // Names that no rule can expect decide nothing.
            _ => {}
        }
    }
    if identity.spiffe.is_some() && uris > 1 {
        return Err(bad("it names a SPIFFE ID and another URI".into()));
    }
    Ok(identity)
}

/// When the first of these expires that is not over at `now`: one that is over is in no path
/// that verifies, and any other may be.
pub(crate) fn first_to_expire(chain: &[CertificateDer<'_>], now: UnixTime) -> Option<SystemTime> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    chain
        .iter()
        .filter_map(|der| parse_x509_certificate(der).ok())
        .map(|(_, certificate)| system_time(certificate.validity().not_after))
        .filter(|not_after| *not_after > now)
        .min()
}

/// Only what can be a host name is kept: names go into records, where a line break would forge
/// a line.
fn printable_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'*'))
}

fn common_name(leaf: &X509Certificate<'_>) -> Option<String> {
    let name = leaf.subject().iter_common_name().next()?.as_str().ok()?;
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(COMMON_NAME_CHARS)
        .collect();
    (!name.is_empty()).then_some(name)
}

/// An address as RFC 5280 section 4.2.1.6 writes it: 4 or 16 bytes in network order.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(v6).to_canonical())
}

/// A certificate's time; what lies before 1970 is 1970.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp().clamp(0, LATEST).unsigned_abs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
