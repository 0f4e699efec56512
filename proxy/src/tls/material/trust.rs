//! Trust bundles and their revocation lists.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{CertRevocationList, OwnedCertRevocationList, anchor_from_trusted_cert};
use x509_parser::{parse_x509_certificate, parse_x509_crl};

use super::{Findings, MaterialError, Named, pem};
use crate::{
    config::TrustFiles,
    identity::TrustDomain,
    tls::{judge::Bundle, leaf},
};

/// Reads one trust domain's files; what is wrong with them goes to `found`.
pub(super) fn bundle(domain: &TrustDomain, files: &TrustFiles, found: &mut Findings) -> Bundle {
    let mut bundle = Bundle::default();
    let file = Named::new(format!("trust.\"{domain}\".bundle"), &files.bundle);
    match pem::certificates(&file) {
        Ok(authorities) => {
            for (at, der) in authorities.iter().enumerate() {
                match anchor(&file, at + 1, der, found) {
                    Ok(anchor) => bundle.anchors.push(anchor),
                    Err(error) => found.errors.push(error),
                }
            }
        }
        Err(error) => found.errors.push(error),
    }
    if let Some(path) = &files.crl {
        let file = Named::new(format!("trust.\"{domain}\".crl"), path);
        match pem::revocation_lists(&file).and_then(|lists| revocations(&file, &lists, found)) {
            Ok(crls) => bundle.crls = crls,
            Err(error) => found.errors.push(error),
        }
    }
    bundle
}

fn anchor(
    file: &Named,
    position: usize,
    der: &CertificateDer<'_>,
    found: &mut Findings,
) -> Result<TrustAnchor<'static>, MaterialError> {
    let (_, parsed) = parse_x509_certificate(der).map_err(|error| {
        file.wrong(
            format!("certificate {position} cannot be parsed: {error}"),
            "inspect it with `openssl x509 -text -in FILE`",
        )
    })?;
    // A leaf in a bundle would let its bearer's key sign for the whole domain.
    if !parsed.is_ca() {
        return Err(file.wrong(
            format!(
                "certificate {position} ({}) is not an authority's",
                parsed.subject()
            ),
            "put only CA certificates (basicConstraints CA:TRUE) into a bundle",
        ));
    }
    // A trust anchor's dates are no part of path validation (RFC 5280 section 6.1.1), so that
    // nothing else would tell.
    let expired = leaf::system_time(parsed.validity().not_after);
    if expired < found.now {
        found.warnings.push(format!(
            "{}: {}: the authority {} expired at {}; what it signed is still accepted here, and \
             refused by many others",
            file.place,
            file.path.display(),
            parsed.subject(),
            humantime::format_rfc3339_seconds(expired),
        ));
    }
    anchor_from_trusted_cert(der)
        .map(|anchor| anchor.to_owned())
        .map_err(|error| {
            file.wrong(
                format!("certificate {position} cannot be trusted: {error}"),
                "inspect it with `openssl x509 -text -in FILE`",
            )
        })
}

fn revocations(
    file: &Named,
    lists: &[CertificateRevocationListDer<'static>],
    found: &mut Findings,
) -> Result<Vec<CertRevocationList<'static>>, MaterialError> {
    lists
        .iter()
        .map(|der| {
            let next = parse_x509_crl(der)
                .ok()
                .and_then(|(_, list)| list.next_update())
                .map(leaf::system_time);
            if let Some(next) = next.filter(|next| *next < found.now) {
                found.warnings.push(format!(
                    "{}: {}: a revocation list expired at {}; every peer of its issuer is refused \
                     until it is renewed",
                    file.place,
                    file.path.display(),
                    humantime::format_rfc3339_seconds(next),
                ));
            }
            OwnedCertRevocationList::from_der(der)
                .map(CertRevocationList::from)
                .map_err(|error| {
                    file.wrong(
                        format!("a revocation list cannot be used: {error}"),
                        "it must be a complete X.509 v2 list of its issuer (no delta or indirect list)",
                    )
                })
        })
        .collect()
}
