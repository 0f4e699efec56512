//! Who a certificate chain proves to be, and whether a rule wants to meet them.
//!
//! Pure: no clock, no file, no socket. The same judgement serves the handshake, a resumed
//! session and tests.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::{leaf, remembered};
use crate::{
    identity::{Expected, PeerIdentity, TrustDomain},
    refusal::{Reason, Refusal},
};

/// The part that the judged peer plays in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It connected to us; its certificate must be usable by a TLS client.
    Client,
    /// We connected to it; its certificate must be usable by a TLS server.
    Server,
}

/// The certificates and revocation lists of one trust domain.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Roots of every path.
    pub anchors: Vec<TrustAnchor<'static>>,
    /// If there is one, every certificate of a path below its root must be covered by a list
    /// that is in force.
    pub crls: Vec<CertRevocationList<'static>>,
}

/// All trust bundles, each for its own trust domain.
#[derive(Debug, Default)]
pub struct TrustStore {
    bundles: BTreeMap<TrustDomain, Bundle>,
}

impl TrustStore {
    /// A store of these bundles.
    pub fn new(bundles: BTreeMap<TrustDomain, Bundle>) -> Self {
        Self { bundles }
    }

    /// The trust domains that have a bundle.
    pub fn domains(&self) -> impl Iterator<Item = &TrustDomain> {
        self.bundles.keys()
    }

    /// Judges a chain (leaf first) at the time `now`. A leaf with a SPIFFE ID is verified by the
    /// bundle of its own trust domain and no other (SPIFFE X509-SVID section 5): another
    /// domain's authority cannot vouch for it. A leaf without one may be vouched for by any.
    ///
    /// # Errors
    /// The one reason why the chain proves nothing, with the name that it claims.
    pub fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<PeerIdentity, Refusal> {
        let Some((first, intermediates)) = chain.split_first() else {
            return Err(Refusal::new(
                Reason::NoCertificate,
                "the peer sent no certificate",
            ));
        };
        self.judge_leaf(first, intermediates, role, now)
    }

    /// [`TrustStore::judge`] of a chain that is already split, as rustls hands it over.
    pub(crate) fn judge_leaf(
        &self,
        first: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<PeerIdentity, Refusal> {
        let mut peer = leaf::identity(first)?;
        match &peer.spiffe {
            Some(id) => {
                let domain = id.trust_domain();
                let bundle = self.bundles.get(domain).ok_or_else(|| {
                    Refusal::new(
                        Reason::UnknownTrustDomain,
                        format!("{peer} is of the trust domain {domain}, which has no bundle here"),
                    )
                })?;
                bundle
                    .verify(first, intermediates, role, now)
                    .map_err(|error| refusal(&error, &peer, now))?;
            }
            None => self.any_bundle(first, intermediates, role, now, &peer)?,
        }
        if let Some(earlier) = leaf::first_to_expire(intermediates, now) {
            peer.not_after = peer.not_after.min(earlier);
        }
        Ok(peer)
    }

    /// Every bundle is asked: an authority that is in two of them may have its list of
    /// revocations in only one, and a revocation anywhere holds.
    fn any_bundle(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        peer: &PeerIdentity,
    ) -> Result<(), Refusal> {
        let mut verified = false;
        let mut failure = webpki::Error::UnknownIssuer;
        for bundle in self.bundles.values() {
            match bundle.verify(leaf, intermediates, role, now) {
                Ok(()) => verified = true,
                Err(error @ webpki::Error::CertRevoked) => {
                    return Err(refusal(&error, peer, now));
                }
                Err(webpki::Error::UnknownIssuer) => {}
                Err(error) => failure = error,
            }
        }
        if verified {
            Ok(())
        } else {
            Err(refusal(&failure, peer, now))
        }
    }
}

impl Bundle {
    /// Builds a path from `leaf` to one of the anchors: signatures, validity, key usage,
    /// constraints and revocation (RFC 5280 section 6). Work is bounded by webpki's budgets.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let crls: Vec<_> = self.crls.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        EndEntityCert::try_from(leaf)?
            .verify_for_usage(
                remembered::algorithms(),
                &self.anchors,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map(drop)
    }
}

/// Whether a rule wants to meet `peer` at `address` (dialled, or the one it connects from).
///
/// # Errors
/// `unwelcome` (`WrongIdentity` outbound, `NotAllowed` inbound), naming who came and who was
/// expected.
pub fn admit(
    peer: &PeerIdentity,
    expected: &[Expected],
    address: IpAddr,
    unwelcome: Reason,
) -> Result<(), Refusal> {
    if expected.iter().any(|entry| entry.matches(peer, address)) {
        return Ok(());
    }
    let wanted: Vec<String> = expected
        .iter()
        .map(|entry| match entry {
            Expected::IpSan => format!("ip-san {address}"),
            _ => entry.to_string(),
        })
        .collect();
    Err(Refusal::new(
        unwelcome,
        format!("{peer} came, expected is {}", wanted.join(" or ")),
    ))
}

/// What webpki found, as the reason that people look for.
fn refusal(error: &webpki::Error, peer: &PeerIdentity, now: UnixTime) -> Refusal {
    use webpki::Error;
    let at = rfc3339(now);
    let (reason, detail) = match error {
        Error::CertExpired { not_after, .. } => (
            Reason::CertificateExpired,
            format!(
                "the certificate of {peer} or of its issuer expired at {}, now is {at}",
                rfc3339(*not_after)
            ),
        ),
        Error::CertNotValidYet { not_before, .. } => (
            Reason::CertificateNotYetValid,
            format!(
                "the certificate of {peer} or of its issuer is valid from {}, now is {at}",
                rfc3339(*not_before)
            ),
        ),
        Error::CertRevoked => (
            Reason::CertificateRevoked,
            format!("the certificate of {peer} or of its issuer is on the revocation list"),
        ),
        Error::CrlExpired { next_update, .. } => (
            Reason::RevocationUnknown,
            format!(
                "{peer}: the revocation list expired at {}, now is {at}",
                rfc3339(*next_update)
            ),
        ),
        Error::UnknownRevocationStatus => (
            Reason::RevocationUnknown,
            format!("{peer}: no revocation list of the issuer of its certificate is configured"),
        ),
        // An authority of the same name with another key is another authority.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => (
            Reason::UnknownIssuer,
            match &peer.spiffe {
                Some(id) => format!(
                    "the certificate of {peer} is not signed by the bundle of {}",
                    id.trust_domain()
                ),
                None => format!("the certificate of {peer} is not signed by any configured bundle"),
            },
        ),
        Error::CaUsedAsEndEntity => (
            Reason::BadCertificate,
            format!("the certificate of {peer} is an authority's; it cannot stand for a peer"),
        ),
        other => (
            Reason::BadCertificate,
            format!("the certificate of {peer}: {other}"),
        ),
    };
    Refusal::new(reason, detail)
}

fn rfc3339(time: UnixTime) -> String {
    // Bounded to the year 9999, above which it cannot be written.
    let time = Duration::from_secs(time.as_secs().min(253_402_300_799));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + time).to_string()
}

#[cfg(test)]
mod tests;
