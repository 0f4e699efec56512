//! The judgement inside the handshake.
//!
//! Both the chain and the identity are judged here and not after the handshake, so that the
//! peer learns the fitting TLS alert. rustls shares one verifier among all connections of a
//! configuration, and a client's sessions resume only under the very same verifier; but the
//! judgement needs the address of this connection, and its result (who came, or the refusal in
//! words) belongs to this connection. Both travel in a task-local around the handshake, which
//! calls the verifier from inside its own poll. A handshake outside of [`meet`] is refused.

use std::{cell::RefCell, fmt, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, CommonState, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    judge::{Role, TrustStore, admit},
    provider,
};
use crate::{
    identity::{Expected, PeerIdentity},
    refusal::{Reason, Refusal},
};

/// What the verifier found: who came, or why they were refused.
pub(crate) type Verdict = Result<PeerIdentity, Refusal>;

struct Encounter {
    address: IpAddr,
    verdict: RefCell<Option<Verdict>>,
}

tokio::task_local! {
    static ENCOUNTER: Encounter;
}

/// Runs a handshake with the peer at `address`; returns its outcome and the verdict, which is
/// absent if the peer showed no certificate in it (it failed before, or resumed a session).
pub(crate) async fn meet<F: Future>(address: IpAddr, handshake: F) -> (F::Output, Option<Verdict>) {
    let encounter = Encounter {
        address,
        verdict: RefCell::new(None),
    };
    ENCOUNTER
        .scope(encounter, async move {
            let outcome = handshake.await;
            (outcome, ENCOUNTER.with(|here| here.verdict.take()))
        })
        .await
}

/// Judges the peers of one rule.
pub(crate) struct Verifier {
    trust: Arc<TrustStore>,
    expected: Arc<[Expected]>,
    peer: Role,
}

impl Verifier {
    /// A verifier of peers that play the part `peer`.
    pub(crate) fn new(trust: Arc<TrustStore>, expected: Arc<[Expected]>, peer: Role) -> Self {
        Self {
            trust,
            expected,
            peer,
        }
    }

    /// The verdict of a finished handshake. A resumed session is judged here and now: its
    /// certificates are those of its first handshake and may have expired or been revoked since.
    pub(crate) fn conclude(
        &self,
        verdict: Option<Verdict>,
        connection: &CommonState,
        address: IpAddr,
        now: Option<UnixTime>,
    ) -> Verdict {
        if let Some(verdict) = verdict
            && connection.handshake_kind() != Some(HandshakeKind::Resumed)
        {
            return verdict;
        }
        let Some(now) = now else {
            return Err(Refusal::new(Reason::Internal, "the clock cannot be read"));
        };
        let chain = connection.peer_certificates().unwrap_or_default();
        match chain.split_first() {
            Some((leaf, intermediates)) => self.judge(leaf, intermediates, address, now),
            None => Err(Refusal::new(
                Reason::NoCertificate,
                "the session carries no certificate of the peer",
            )),
        }
    }

    /// Whether the rule wants to meet a peer that was judged before.
    pub(crate) fn admit(&self, peer: &PeerIdentity, address: IpAddr) -> Result<(), Refusal> {
        admit(peer, &self.expected, address, Reason::NotAllowed)
    }

    /// Judges a chain (leaf first) outside of a handshake.
    pub(crate) fn judge_chain(
        &self,
        chain: &[CertificateDer<'_>],
        address: IpAddr,
        now: UnixTime,
    ) -> Verdict {
        match chain.split_first() {
            Some((leaf, intermediates)) => self.judge(leaf, intermediates, address, now),
            None => Err(Refusal::new(
                Reason::NoCertificate,
                "the peer has shown no certificate",
            )),
        }
    }

    /// The whole judgement: chain, validity, revocation, identity.
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        address: IpAddr,
        now: UnixTime,
    ) -> Verdict {
        let peer = self.trust.judge_leaf(leaf, intermediates, self.peer, now)?;
        let unwelcome = match self.peer {
            Role::Server => Reason::WrongIdentity,
            Role::Client => Reason::NotAllowed,
        };
        admit(&peer, &self.expected, address, unwelcome)?;
        Ok(peer)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        ENCOUNTER
            .try_with(|here| {
                let verdict = self.judge(leaf, intermediates, here.address, now);
                let result = match &verdict {
                    Ok(_) => Ok(()),
                    Err(refusal) => Err(Error::InvalidCertificate(said_to_peer(refusal.reason))),
                };
                here.verdict.replace(Some(verdict));
                result
            })
            .unwrap_or_else(|_| {
                Err(Error::General(
                    "a handshake was begun without naming its peer's address".into(),
                ))
            })
    }
}

/// The error whose alert (RFC 8446 section 6.2) tells the peer what to look for, and no more.
fn said_to_peer(reason: Reason) -> CertificateError {
    match reason {
        Reason::CertificateExpired => CertificateError::Expired,
        Reason::CertificateNotYetValid => CertificateError::NotValidYet,
        Reason::CertificateRevoked => CertificateError::Revoked,
        Reason::UnknownIssuer | Reason::UnknownTrustDomain => CertificateError::UnknownIssuer,
        Reason::RevocationUnknown => CertificateError::UnknownRevocationStatus,
        Reason::WrongIdentity | Reason::NotAllowed => {
            CertificateError::ApplicationVerificationFailure
        }
        _ => CertificateError::BadEncoding,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// None: the names of our authorities are nobody's business before a peer proved itself.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("peer", &self.peer)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
