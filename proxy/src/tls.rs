//! Who is there: TLS in both roles.
//!
//! [`material`] reads keys and bundles, [`judge`] decides who a certificate chain proves to be,
//! `verifier` puts that judgement into the handshake, [`client`] and [`server`] run it, and
//! [`downstream`] runs it for the clients of listeners with [`certificates`] by server name, and
//! [`hello`] reads what an inbound connection begins with. [`alert`] turns what went wrong into
//! the one [`crate::refusal::Refusal`] and sees to it that the peer learns of it too.
//!
//! Peers of ours speak TLS 1.3 only (clients of a listener 1.2 too, if it says so), both sides prove an identity, and no early data is sent or
//! taken: a proxy cannot know whether an application's first bytes may be replayed.

use std::sync::{Arc, LazyLock};

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version,
};

pub mod alert;
pub mod certificates;
pub mod client;
pub mod downstream;
pub mod hello;
pub mod judge;
mod leaf;
pub mod material;
mod proven;
mod remembered;
pub mod server;
mod verifier;

pub(crate) use leaf::{address, system_time};
pub use proven::Proven;

pub use crate::tunnel::ALPN as TUNNEL_ALPN;

/// What peers may negotiate.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// What clients of a listener may negotiate that takes older ones (`tls.min_version`). Of TLS 1.2 the
/// provider has suites with ephemeral keys and authenticated encryption alone; rustls never
/// renegotiates.
pub(crate) const VERSIONS_FROM_1_2: &[&SupportedProtocolVersion] =
    &[&version::TLS13, &version::TLS12];

/// Bytes that rustls may hold for one connection and direction. Its default of 64 KiB splits a
/// full relay buffer into several writes; without a bound a stalled peer would fill memory.
pub(crate) const BUFFER_LIMIT: usize = 256 * 1024;

/// The one cryptography provider: aws-lc-rs, hybrid post-quantum key exchange first
/// (X25519MLKEM768, by the cargo feature `prefer-post-quantum`), AES-128-GCM before AES-256-GCM
/// because its ten rounds cost less than fourteen and 128 bits are enough for session keys.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        let preferred = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
        // A stable sort: the rest keeps its order, TLS 1.3 before TLS 1.2.
        provider
            .cipher_suites
            .sort_by_key(|suite| *suite != preferred);
        Arc::new(provider)
    });
    &PROVIDER
}

/// What a finished handshake settled on.
pub(crate) fn facts(connection: &rustls::CommonState) -> crate::record::TlsFacts {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    };
    crate::record::TlsFacts {
        version,
        group: connection
            .negotiated_key_exchange_group()
            .map_or_else(String::new, |group| format!("{:?}", group.name())),
        suite: connection
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}

#[cfg(test)]
mod tests;
