//! From a failed handshake to the one reason, and the alert to the peer.

use std::{io, time::Duration};

use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::verifier::Verdict;
use crate::refusal::{Reason, Refusal};

/// What a refused peer may still send while it has not read our alert.
const DRAIN_BYTES: u64 = 64 * 1024;
const DRAIN_AT_ONCE: usize = 4 * 1024;
/// How long a refused peer may take to read our alert.
const DRAIN_TIME: Duration = Duration::from_millis(500);

/// The record of a fatal alert unrecognized_name (RFC 6066 section 3), as every version writes it
/// before there are keys (RFC 8446 section 5.1).
const UNRECOGNISED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why a handshake failed. The verdict comes first: it is the cause of which the TLS error is
/// only the echo.
pub(crate) fn refusal_of_handshake(error: &io::Error, verdict: Option<Verdict>) -> Refusal {
    if let Some(Err(refusal)) = verdict {
        return refusal;
    }
    match tls_error(error) {
        Some(error) => refusal_of_error(error),
        None => Refusal::new(Reason::HandshakeFailed, io_detail(error)),
    }
}

/// The reason behind an error of rustls alone.
pub(crate) fn refusal_of_error(error: &Error) -> Refusal {
    let (reason, detail) = match error {
        Error::NoCertificatesPresented => (
            Reason::NoCertificate,
            "the peer sent no certificate".to_owned(),
        ),
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => (
            Reason::TlsVersion,
            "the peer offered no version of TLS that is accepted here".to_owned(),
        ),
        // Clients of TLS 1.1 and older ones do not have it.
        Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired) => (
            Reason::TlsVersion,
            "the peer names no signature algorithms: it speaks TLS 1.1 or an older version".to_owned(),
        ),
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => (
            Reason::TlsVersion,
            "the peer speaks TLS 1.2 without extended master secret (RFC 7627), without which its \
             certificate would not prove who is on this connection"
                .to_owned(),
        ),
        Error::AlertReceived(AlertDescription::ProtocolVersion) => (
            Reason::TlsVersion,
            "the peer answered TLS 1.3 with the alert protocol_version".to_owned(),
        ),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => (
            Reason::TunnelProtocol,
            "the peer does not speak sidetrack/1 (alert no_application_protocol); use wire = \"tls\""
                .to_owned(),
        ),
        Error::NoApplicationProtocol => (
            Reason::ProtocolNotAccepted,
            "the peer offered other application protocols than sidetrack/1".to_owned(),
        ),
        Error::AlertReceived(alert) => (Reason::HandshakeFailed, alert_detail(*alert)),
        Error::InvalidCertificate(error) => (
            Reason::BadCertificate,
            format!("the peer's certificate: {error}"),
        ),
        Error::InvalidMessage(error) => (
            Reason::HandshakeFailed,
            format!("the peer does not speak TLS, or not well ({error:?})"),
        ),
        other => (Reason::HandshakeFailed, other.to_string()),
    };
    Refusal::new(reason, detail)
}

/// The refusal behind an error of a TLS stream after its handshake.
///
/// In TLS 1.3 a client has finished its handshake before the server has judged the client's
/// certificate (RFC 8446 section 4.4.4): a server that refuses it says so by an alert that shows
/// as an error of the client's first reads or writes. `None` if `error` is no alert.
pub fn refusal_from_io(error: &io::Error) -> Option<Refusal> {
    match tls_error(error)? {
        error @ Error::AlertReceived(_) => Some(refusal_of_error(error)),
        _ => None,
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn io_detail(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed during the handshake".into(),
        io::ErrorKind::ConnectionReset => {
            "the peer reset the connection during the handshake".into()
        }
        _ => format!("during the handshake: {error}"),
    }
}

/// The alert by its name in RFC 8446, and what it means for the one who reads our record.
fn alert_detail(alert: AlertDescription) -> String {
    let (name, meaning) = match alert {
        AlertDescription::AccessDenied => ("access_denied", "it does not allow our identity"),
        AlertDescription::UnknownCA => (
            "unknown_ca",
            "it does not trust the authority of our certificate",
        ),
        AlertDescription::BadCertificate => ("bad_certificate", "it cannot use our certificate"),
        AlertDescription::UnsupportedCertificate => (
            "unsupported_certificate",
            "our certificate is not for this side of a connection",
        ),
        AlertDescription::CertificateExpired => (
            "certificate_expired",
            "our certificate is not valid at this time; compare the clocks",
        ),
        AlertDescription::CertificateRevoked => {
            ("certificate_revoked", "our certificate was revoked")
        }
        AlertDescription::CertificateUnknown => {
            ("certificate_unknown", "it refuses our certificate")
        }
        AlertDescription::CertificateRequired => (
            "certificate_required",
            "it requires a certificate and we sent none",
        ),
        AlertDescription::HandshakeFailure => (
            "handshake_failure",
            "it found nothing in common with what we offer",
        ),
        AlertDescription::DecryptError => ("decrypt_error", "a signature did not verify"),
        AlertDescription::UnrecognisedName => {
            ("unrecognized_name", "it does not serve the server_name")
        }
        other => return format!("the peer refused with the TLS alert {other:?}"),
    };
    format!("the peer refused with the TLS alert {name}: {meaning}")
}

/// Tells a client that nobody here has the server name that it asks for, where there is no TLS of
/// ours that could say so, and closes.
pub(crate) async fn refuse_name(mut tcp: TcpStream) {
    if tcp.write_all(&UNRECOGNISED_NAME).await.is_ok() {
        close_after_alert(tcp).await;
    }
}

/// Closes a connection whose last word is an alert. A close with unread bytes in the receive
/// queue would reset the connection and destroy the alert before the peer has read it, so those
/// bytes are drained, within bounds.
pub(crate) async fn close_after_alert(mut tcp: TcpStream) {
    if tcp.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        // On the heap: every connection's task would have room for it otherwise.
        let mut sink = Vec::with_capacity(DRAIN_AT_ONCE);
        let mut rest = (&mut tcp).take(DRAIN_BYTES);
        while matches!(rest.read_buf(&mut sink).await, Ok(read) if read > 0) {
            sink.clear();
        }
    };
    // Either way the socket is closed now; a peer that is still sending gets the reset it asks for.
    let _ = timeout(DRAIN_TIME, drain).await;
}

/// Closes a connection to which nothing was said: no byte tells a stranger what listens here.
pub(crate) fn reset(tcp: TcpStream) {
    // If this fails the socket is closed in the ordinary way.
    let _ = tcp.set_zero_linger();
    drop(tcp);
}
