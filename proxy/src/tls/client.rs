//! Connecting as ourselves to a peer that must prove to be the expected one.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs::kx_group},
    sign::SingleCertAndKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    BUFFER_LIMIT, Proven, TUNNEL_ALPN, VERSIONS,
    alert::{close_after_alert, refusal_of_handshake, reset},
    facts,
    judge::{Role, TrustStore},
    material::OwnIdentity,
    provider,
    verifier::{Verifier, meet},
};
use crate::{
    addr::UpstreamAddr,
    config::{Group, Handshakes, Wire},
    identity::Expected,
    record::TlsFacts,
    refusal::{Reason, Refusal},
};

/// Servers whose sessions are kept by one [`Originator`], eight tickets each: enough for the
/// backends of one rule, about 8 KiB for each of them.
const SESSIONS: usize = 256;

/// Makes the TLS connections of one rule. Its sessions are its own: nothing is resumed under
/// another own identity, expectation or generation of trust.
#[derive(Debug)]
pub struct Originator {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    wire: Wire,
    /// `None`: the address that was dialled, which is not sent.
    server_name: Option<ServerName<'static>>,
    own_expires: Option<SystemTime>,
}

/// A finished handshake with a peer that proved who it is. It may not have judged us yet, see
/// [`super::alert::refusal_from_io`].
#[derive(Debug)]
pub struct Originated {
    /// No application byte has moved on it.
    pub stream: TlsStream<TcpStream>,
    /// Whom the peer proved to be.
    pub peer: Proven,
    /// What was negotiated.
    pub facts: TlsFacts,
}

/// Why an [`Originator`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OriginatorError {
    /// `server_name` is not a host name.
    #[error(
        "server_name {name:?} is not a DNS name ({source}); write a host name, or leave it out to send none"
    )]
    ServerName {
        /// As configured.
        name: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
    /// rustls refused the combination.
    #[error("preparing TLS for connections as {identity}: {source}")]
    Tls {
        /// Our own identity.
        identity: Arc<str>,
        /// What rustls says.
        source: rustls::Error,
    },
}

impl Originator {
    /// Prepares connections as `own` to peers that `trust` verifies and `expect` names.
    /// The server name is `server_name`, else the first exact DNS name of `expect`, else none.
    ///
    /// # Errors
    /// If `server_name` is no host name.
    pub fn new(
        own: &Arc<OwnIdentity>,
        trust: &Arc<TrustStore>,
        expect: Arc<[Expected]>,
        wire: Wire,
        server_name: Option<String>,
        handshakes: &Handshakes,
    ) -> Result<Self, OriginatorError> {
        Self::with_clock(
            Some(own),
            trust,
            expect,
            (wire, handshakes),
            server_name,
            Arc::new(DefaultTimeProvider),
        )
    }

    /// Prepares plain TLS connections to servers that need not know who we are; with `own` they
    /// learn it if they ask. `protocols` are offered by ALPN (RFC 7301), the preferred one first.
    ///
    /// # Errors
    /// If `server_name` is no host name.
    pub fn to_servers(
        own: Option<&Arc<OwnIdentity>>,
        trust: &Arc<TrustStore>,
        expect: Arc<[Expected]>,
        server_name: Option<String>,
        protocols: &[&[u8]],
    ) -> Result<Self, OriginatorError> {
        let clock = Arc::new(DefaultTimeProvider);
        let plain = (Wire::Tls, &Handshakes::default());
        let mut this = Self::with_clock(own, trust, expect, plain, server_name, clock)?;
        if let Some(config) = Arc::get_mut(&mut this.config) {
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        }
        Ok(this)
    }

    pub(super) fn with_clock(
        own: Option<&Arc<OwnIdentity>>,
        trust: &Arc<TrustStore>,
        expect: Arc<[Expected]>,
        (wire, handshakes): (Wire, &Handshakes),
        server_name: Option<String>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, OriginatorError> {
        let server_name = match server_name {
            Some(name) => Some(dns_name(name)?),
            // A name of a rule that SNI cannot carry (an underscore) is not sent.
            None => expect.iter().find_map(|entry| match entry {
                Expected::Dns(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
                _ => None,
            }),
        };
        let verifier = Arc::new(Verifier::new(Arc::clone(trust), expect, Role::Server));
        let builder =
            ClientConfig::builder_with_details(offering_groups(&handshakes.groups), clock)
                .with_protocol_versions(VERSIONS)
                .map_err(|source| OriginatorError::Tls {
                    identity: own.map_or_else(|| "nobody".into(), |own| Arc::clone(&own.label)),
                    source,
                })?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone());
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
                Arc::clone(&own.certified_key),
            ))),
            None => builder.with_no_client_auth(),
        };
        config.enable_early_data = false;
        match wire {
            Wire::Tunnel => {
                config.alpn_protocols = vec![TUNNEL_ALPN.to_vec()];
                // A tunnel is reused, not resumed.
                config.resumption = Resumption::disabled();
            }
            Wire::Tls if handshakes.resumption => {
                config.resumption = Resumption::in_memory_sessions(SESSIONS);
            }
            Wire::Tls => config.resumption = Resumption::disabled(),
        }
        Ok(Self {
            config: Arc::new(config),
            verifier,
            wire,
            server_name,
            own_expires: own.map(|own| own.not_after),
        })
    }

    /// The same, but `protocols` are offered, the preferred one first.
    #[must_use]
    pub fn offering(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            config: Arc::new(config),
            verifier: Arc::clone(&self.verifier),
            wire: self.wire,
            server_name: self.server_name.clone(),
            own_expires: self.own_expires,
        }
    }

    /// When our own certificate expires, if one is shown.
    pub fn own_expires(&self) -> Option<SystemTime> {
        self.own_expires
    }

    /// Judges a peer at `at` again that a handshake under another policy accepted and whose connection
    /// lives: trust, revocation and identity of now. See [`Terminator::still_accepts`].
    ///
    /// [`Terminator::still_accepts`]: super::server::Terminator::still_accepts
    ///
    /// # Errors
    /// The one reason why it is not accepted any more.
    pub fn still_accepts(&self, peer: &Proven, at: UpstreamAddr) -> Result<(), Refusal> {
        self.verifier
            .judge_chain(peer.chain(), at.ip(), peer.as_it_was_valid())
            .map(drop)
    }

    /// Runs the handshake on `tcp`, which is connected to `to`. The caller bounds its time.
    ///
    /// The peer is judged inside the handshake, a resumed session after it, in either case
    /// before the caller can send a byte.
    ///
    /// # Errors
    /// The reason why there is no connection; the peer has been told by an alert, or by a reset
    /// where TLS has no alert to give (a resumed session, a missing ALPN).
    pub async fn originate(&self, tcp: TcpStream, to: UpstreamAddr) -> Result<Originated, Refusal> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::IpAddress(to.ip().into()),
        };
        let handshake = TlsConnector::from(Arc::clone(&self.config))
            .connect_with(name, tcp, |connection| {
                connection.set_buffer_limit(Some(BUFFER_LIMIT));
            })
            .into_fallible();
        let (outcome, verdict) = meet(to.ip(), handshake).await;
        let stream = match outcome {
            Ok(stream) => stream,
            Err((error, tcp)) => {
                close_after_alert(tcp).await;
                return Err(refusal_of_handshake(&error, verdict));
            }
        };
        let (_, connection) = stream.get_ref();
        let judged = self.verifier.conclude(
            verdict,
            connection,
            to.ip(),
            self.config.time_provider.current_time(),
        );
        let judged = judged.and_then(|peer| {
            if self.wire == Wire::Tunnel && connection.alpn_protocol() != Some(TUNNEL_ALPN) {
                return Err(Refusal::new(
                    Reason::TunnelProtocol,
                    "the peer does not speak sidetrack/1; use wire = \"tls\"",
                ));
            }
            Ok(peer)
        });
        match judged {
            Ok(peer) => Ok(Originated {
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

/// The provider with these groups alone; the first one's key goes with the ClientHello.
fn offering_groups(groups: &[Group]) -> Arc<CryptoProvider> {
    if groups == Group::ALL {
        return Arc::clone(provider());
    }
    let mut provider = CryptoProvider::clone(provider());
    provider.kx_groups = groups
        .iter()
        .map(|group| -> &'static dyn SupportedKxGroup {
            match group {
                Group::X25519MlKem768 => kx_group::X25519MLKEM768,
                Group::X25519 => kx_group::X25519,
                Group::Secp256r1 => kx_group::SECP256R1,
                Group::Secp384r1 => kx_group::SECP384R1,
            }
        })
        .collect();
    Arc::new(provider)
}

fn dns_name(name: String) -> Result<ServerName<'static>, OriginatorError> {
    match rustls_pki_types::DnsName::try_from(name.clone()) {
        Ok(valid) => Ok(ServerName::DnsName(valid)),
        Err(source) => Err(OriginatorError::ServerName { name, source }),
    }
}
