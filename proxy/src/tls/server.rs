//! Accepting TLS as ourselves from peers that must prove who they are.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use rustls_pki_types::UnixTime;
use tokio::net::TcpStream;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::{
    BUFFER_LIMIT, Proven, TUNNEL_ALPN, VERSIONS,
    alert::{close_after_alert, refusal_of_handshake, reset},
    facts,
    hello::ClientHelloRead,
    judge::{Role, TrustStore},
    material::OwnIdentity,
    provider,
    verifier::{Verdict, Verifier, meet},
};
use crate::{
    config::Wire,
    identity::Expected,
    record::TlsFacts,
    refusal::{Reason, Refusal},
};

/// Terminates the TLS connections of one inbound rule and wire. Its ticket keys are its own:
/// nothing is resumed under another own identity, policy, listener or generation of trust.
#[derive(Debug)]
pub struct Terminator {
    config: Arc<ServerConfig>,
    verifier: Arc<Verifier>,
    kind: Wire,
}

/// A finished handshake with a peer that proved who it is and is allowed here.
#[derive(Debug)]
pub struct Terminated {
    /// No application byte has been taken from it.
    pub stream: TlsStream<TcpStream>,
    /// Whom the peer proved to be.
    pub peer: Proven,
    /// What was negotiated.
    pub facts: TlsFacts,
}

/// Why a [`Terminator`] cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("preparing TLS for connections to {identity}: {source}")]
pub struct TerminatorError {
    identity: Arc<str>,
    source: rustls::Error,
}

impl Terminator {
    /// Prepares to accept, as `own`, peers that `trust` verifies and `allow` names.
    ///
    /// # Errors
    /// If rustls cannot make ticket keys or refuses the configuration.
    pub fn new(
        own: &Arc<OwnIdentity>,
        trust: &Arc<TrustStore>,
        allow: Arc<[Expected]>,
        kind: Wire,
    ) -> Result<Self, TerminatorError> {
        Self::with_clock(own, trust, allow, kind, Arc::new(DefaultTimeProvider))
    }

    pub(super) fn with_clock(
        own: &Arc<OwnIdentity>,
        trust: &Arc<TrustStore>,
        allow: Arc<[Expected]>,
        kind: Wire,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, TerminatorError> {
        let fail = |source| TerminatorError {
            identity: Arc::clone(&own.label),
            source,
        };
        let verifier = Arc::new(Verifier::new(Arc::clone(trust), allow, Role::Client));
        let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), clock)
            .with_protocol_versions(VERSIONS)
            .map_err(fail)?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &own.certified_key,
            ))));
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match kind {
            Wire::Tunnel => {
                config.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
                config.send_tls13_tickets = 0;
            }
            Wire::Tls => {
                config.ticketer = Ticketer::new().map_err(fail)?;
                config.send_tls13_tickets = 1;
            }
        }
        Ok(Self {
            config: Arc::new(config),
            verifier,
            kind,
        })
    }

    /// Judges a peer again that a handshake under this policy accepted: its certificate may have
    /// expired since.
    ///
    /// # Errors
    /// [`Reason::NotAllowed`], [`Reason::CertificateExpired`].
    pub fn admit(&self, peer: &Proven, from: SocketAddr) -> Result<(), Refusal> {
        if peer.identity.not_after <= std::time::SystemTime::now() {
            return Err(Refusal::new(
                Reason::CertificateExpired,
                format!("the certificate of {peer} has expired since its handshake"),
            ));
        }
        self.verifier
            .admit(&peer.identity, from.ip().to_canonical())
    }

    /// Judges a peer again that a handshake under another policy accepted, for what it asks now:
    /// trust, revocation, validity and identity of now.
    ///
    /// # Errors
    /// The one reason why it is not accepted any more.
    pub fn judge_again(&self, peer: &Proven, from: SocketAddr) -> Result<(), Refusal> {
        self.judge_at(peer, from, UnixTime::now())
    }

    /// The same for what it was granted before and still has: trust, revocation and identity of now,
    /// but not validity. A certificate that expires takes no connection with it.
    ///
    /// # Errors
    /// As [`Self::judge_again`].
    pub fn still_accepts(&self, peer: &Proven, from: SocketAddr) -> Result<(), Refusal> {
        self.judge_at(peer, from, peer.as_it_was_valid())
    }

    fn judge_at(&self, peer: &Proven, from: SocketAddr, at: UnixTime) -> Result<(), Refusal> {
        self.verifier
            .judge_chain(peer.chain(), from.ip().to_canonical(), at)
            .map(drop)
    }

    /// Runs the rest of the handshake with the client at `peer`. The caller bounds its time.
    ///
    /// The client is judged inside the handshake, a resumed session after it, in either case
    /// before the caller can take a byte.
    ///
    /// # Errors
    /// The reason why there is no connection; the peer has been told by an alert, or by a reset
    /// where TLS has no alert to give (a resumed session).
    pub async fn terminate(
        &self,
        hello: Box<ClientHelloRead>,
        peer: SocketAddr,
    ) -> Result<Terminated, Refusal> {
        let address = peer.ip().to_canonical();
        let (stream, verdict) = answer(&self.config, hello, peer).await?;
        let (_, connection) = stream.get_ref();
        let judged = self.verifier.conclude(
            verdict,
            connection,
            address,
            self.config.time_provider.current_time(),
        );
        let judged = judged.and_then(|peer| {
            // A client without ALPN is let through by rustls; frames are not guessed.
            if self.kind == Wire::Tunnel && connection.alpn_protocol() != Some(TUNNEL_ALPN) {
                return Err(Refusal::new(
                    Reason::ProtocolNotAccepted,
                    "the peer did not offer sidetrack/1",
                ));
            }
            Ok(peer)
        });
        match judged {
            Ok(peer) => Ok(Terminated {
                facts: facts(connection),
                peer: Proven::new(peer, connection),
                stream,
            }),
            Err(refusal) => {
                reset(stream.into_inner().0);
                Err(refusal)
            }
        }
    }
}

/// Runs the rest of a handshake that began with `hello`; returns the verdict on the client's
/// certificate, which is absent if it showed none in it.
pub(super) async fn answer(
    config: &Arc<ServerConfig>,
    hello: Box<ClientHelloRead>,
    peer: SocketAddr,
) -> Result<(TlsStream<TcpStream>, Option<Verdict>), Refusal> {
    let ClientHelloRead {
        accepted,
        tcp,
        overrun,
        ..
    } = *hello;
    if overrun {
        reset(tcp);
        return Err(Refusal::new(
            Reason::HandshakeFailed,
            "the peer sent early data, which was not offered to it",
        ));
    }
    let handshake = StartHandshake::from_parts(accepted, tcp)
        .into_stream_with(Arc::clone(config), |connection| {
            connection.set_buffer_limit(Some(BUFFER_LIMIT));
        })
        .into_fallible();
    let (outcome, verdict) = meet(peer.ip().to_canonical(), handshake).await;
    match outcome {
        Ok(stream) => Ok((stream, verdict)),
        Err((error, tcp)) => {
            close_after_alert(tcp).await;
            Err(refusal_of_handshake(&error, verdict))
        }
    }
}
