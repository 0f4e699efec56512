//! TLS of listeners: several certificates by server name, clients with and without one of theirs.
//!
//! Beside [`super::server`], whose peers all prove who they are: here that is the listener's mode.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    CommonState, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs::Ticketer,
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{
    Proven, VERSIONS, VERSIONS_FROM_1_2, alert::reset, certificates::Certificates, facts,
    hello::ClientHelloRead, judge::Role, judge::TrustStore, provider, server, verifier::Verdict,
    verifier::Verifier,
};
use crate::{
    config::{ListenerTls, TlsMode, TlsVersion},
    identity::{Expected, PeerIdentity},
    record::TlsFacts,
    refusal::Refusal,
};

/// Terminates the TLS connections of one listener. Its ticket keys are its own: nothing is resumed
/// under another mode, policy, listener or generation of trust.
#[derive(Debug)]
pub struct Downstream {
    config: Arc<ServerConfig>,
    mode: TlsMode,
    verifier: Arc<Verifier>,
}

/// A finished handshake with a client that is allowed here.
#[derive(Debug)]
pub struct Met {
    /// No application byte has been taken from it.
    pub stream: TlsStream<TcpStream>,
    /// Whom the client proved to be; `None` where it showed no certificate and need not.
    pub client: Option<Proven>,
    /// What was negotiated.
    pub facts: TlsFacts,
}

impl Downstream {
    /// Prepares to show `certificates` to clients, and to judge theirs by `trust` where `tls` asks for
    /// them. `protocols` are offered by ALPN (RFC 7301), the preferred one first.
    ///
    /// # Errors
    /// If rustls cannot make ticket keys or refuses the configuration.
    pub fn new(
        certificates: Arc<Certificates>,
        trust: &Arc<TrustStore>,
        tls: &ListenerTls,
        protocols: &[&[u8]],
    ) -> Result<Self, Error> {
        let mode = tls.mode;
        // Who is asked for no certificate may be anybody, also if one was shown before a reload.
        let allow = match mode {
            TlsMode::Simple => [Expected::Any].into(),
            TlsMode::Optional | TlsMode::Mutual => tls.allow.as_slice().into(),
        };
        let verifier = Arc::new(Verifier::new(Arc::clone(trust), allow, Role::Client));
        let versions = match tls.min_version {
            TlsVersion::V1_2 => VERSIONS_FROM_1_2,
            TlsVersion::V1_3 => VERSIONS,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(versions)?;
        let builder = match mode {
            TlsMode::Simple => builder.with_no_client_auth(),
            TlsMode::Optional => {
                builder.with_client_cert_verifier(Arc::new(Optional(Arc::clone(&verifier))))
            }
            TlsMode::Mutual => builder.with_client_cert_verifier(verifier.clone()),
        };
        let mut config = builder.with_cert_resolver(certificates);
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        // Without it a session of TLS 1.2 can be made to look like another one, and a certificate that
        // was shown in one then counts in the other (RFC 7627 section 1).
        config.require_ems = mode != TlsMode::Simple;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            mode,
            verifier,
        })
    }

    /// Whether clients show certificates.
    pub fn mode(&self) -> TlsMode {
        self.mode
    }

    /// Whether a client that was met under another mode or policy may stay: one that showed no
    /// certificate then is not asked for it now, one that did is judged by the trust of now, whatever the
    /// mode: upstreams go on being told of it.
    ///
    /// # Errors
    /// The one reason why its certificate is not accepted any more.
    pub fn still_accepts(&self, client: Option<&Proven>, from: SocketAddr) -> Result<(), Refusal> {
        let Some(client) = client else {
            return Ok(());
        };
        let address = from.ip().to_canonical();
        self.verifier
            .judge_chain(client.chain(), address, client.as_it_was_valid())
            .map(drop)
    }

    /// Runs the rest of the handshake with the client at `from`. The caller bounds its time.
    ///
    /// The client is judged inside the handshake, a resumed session after it, in either case
    /// before the caller can take a byte.
    ///
    /// # Errors
    /// The reason why there is no connection; the client has been told by an alert
    /// (`certificate_required` where it showed none), or by a reset where TLS has no alert to give.
    pub async fn meet(
        &self,
        hello: Box<ClientHelloRead>,
        from: SocketAddr,
    ) -> Result<Met, Refusal> {
        let (stream, verdict) = server::answer(&self.config, hello, from).await?;
        let (_, connection) = stream.get_ref();
        match self.conclude(verdict, connection, from) {
            Ok(client) => Ok(Met {
                facts: facts(connection),
                client: client.map(|client| Proven::new(client, connection)),
                stream,
            }),
            Err(refusal) => {
                reset(stream.into_inner().0);
                Err(refusal)
            }
        }
    }

    fn conclude(
        &self,
        verdict: Option<Verdict>,
        connection: &CommonState,
        from: SocketAddr,
    ) -> Result<Option<PeerIdentity>, Refusal> {
        let shown = connection
            .peer_certificates()
            .is_some_and(|chain| !chain.is_empty());
        match self.mode {
            TlsMode::Simple => Ok(None),
            TlsMode::Optional if !shown => Ok(None),
            TlsMode::Optional | TlsMode::Mutual => {
                let now = self.config.time_provider.current_time();
                let address = from.ip().to_canonical();
                self.verifier
                    .conclude(verdict, connection, address, now)
                    .map(Some)
            }
        }
    }
}

/// Judges whoever shows a certificate, and asks nobody to show one.
#[derive(Debug)]
struct Optional(Arc<Verifier>);

impl ClientCertVerifier for Optional {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(&*self.0, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(&*self.0, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(&*self.0)
    }
}
