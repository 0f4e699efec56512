//! What an inbound connection begins with: a ClientHello, or plain text.

use std::{
    io::{self, Read},
    time::Duration,
};

use rustls::server::{Accepted, Acceptor};
use socket2::SockRef;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use super::{
    TUNNEL_ALPN,
    alert::{close_after_alert, refusal_of_error, reset},
};
use crate::refusal::{Reason, Refusal};

/// First byte of a TLS handshake record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;
/// Bytes that a ClientHello may take, and that are kept of it for an application's own TLS.
/// rustls holds at most this much of a handshake message.
const MAX_HELLO: usize = 64 * 1024;
/// A post-quantum ClientHello takes about 1.5 KiB: one read gets most of them.
const READ: usize = 4 * 1024;

/// Whether plain text may come on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainText {
    /// No: TLS or nothing.
    Refused,
    /// No, and the TLS is to be relayed as it is: what is read of it is kept.
    RefusedKeepingTls,
    /// Yes, beside TLS.
    Accepted {
        /// How long to wait for a first byte before the connection counts as plain text (of a
        /// protocol in which the server speaks first). `None` does not wait: bytes that are
        /// already there decide.
        detect: Option<Duration>,
    },
}

/// What a connection began with.
#[derive(Debug)]
pub enum FirstBytes {
    /// TLS.
    Tls(Box<ClientHelloRead>),
    /// Plain text, or nothing yet.
    Plain {
        /// The connection.
        tcp: TcpStream,
        /// What was already read from it: the first bytes for the application.
        prefix: Vec<u8>,
    },
}

/// A ClientHello that was read and not answered.
#[derive(Debug)]
pub struct ClientHelloRead {
    /// Where the handshake goes on.
    pub accepted: Accepted,
    /// The connection.
    pub tcp: TcpStream,
    /// All bytes read, for an application or server that terminates TLS itself; empty with
    /// [`PlainText::Refused`], since they can never be relayed there.
    pub raw: Vec<u8>,
    /// Bytes came behind the ClientHello that `accepted` does not hold: early data, which we
    /// never offer. An application may have, so that it can still be relayed to it.
    pub(super) overrun: bool,
}

impl ClientHelloRead {
    /// Whether the client offers the tunnel of two sidetracks.
    pub fn offers_tunnel(&self) -> bool {
        self.accepted
            .client_hello()
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == TUNNEL_ALPN))
    }

    /// The name that the client asks for (SNI), in lower case; nothing proves it. With an encrypted
    /// ClientHello it is the outer one.
    pub fn server_name(&self) -> Option<String> {
        self.accepted
            .client_hello()
            .server_name()
            .map(|name| name.strip_suffix('.').unwrap_or(name).to_owned())
    }
}

/// Reads until it is clear what the client speaks. The caller bounds the time: a client may
/// send its ClientHello byte by byte.
///
/// # Errors
/// `Plaintext` where that is refused: the connection is reset and not one byte was sent.
/// `HandshakeFailed`, `TlsVersion` if the ClientHello is no good: the peer got the alert.
pub async fn first_bytes(tcp: TcpStream, plain: PlainText) -> Result<FirstBytes, Refusal> {
    let mut raw = Vec::new();
    let first = match plain {
        PlainText::Refused | PlainText::RefusedKeepingTls => read_some(&tcp, &mut raw).await,
        PlainText::Accepted { detect: None } => match read_now(&tcp, &mut raw) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(FirstBytes::Plain { tcp, prefix: raw });
            }
            outcome => outcome,
        },
        PlainText::Accepted {
            detect: Some(budget),
        } => match timeout(budget, read_some(&tcp, &mut raw)).await {
            Ok(outcome) => outcome,
            Err(_) => return Ok(FirstBytes::Plain { tcp, prefix: raw }),
        },
    };
    let got = first.map_err(|error| broken(&error))?;
    if raw.first() == Some(&HANDSHAKE) {
        return hello(tcp, raw, plain).await;
    }
    match plain {
        // Nothing at all is plain text too: the application sees the connection and its end.
        PlainText::Accepted { .. } => Ok(FirstBytes::Plain { tcp, prefix: raw }),
        PlainText::Refused | PlainText::RefusedKeepingTls if got == 0 => Err(closed()),
        PlainText::Refused | PlainText::RefusedKeepingTls => {
            reset(tcp);
            Err(Refusal::new(
                Reason::Plaintext,
                "the first byte is not of a TLS handshake",
            ))
        }
    }
}

/// Goes on with a connection whose first byte is that of a handshake.
async fn hello(
    mut tcp: TcpStream,
    mut raw: Vec<u8>,
    plain: PlainText,
) -> Result<FirstBytes, Refusal> {
    let keep = plain != PlainText::Refused;
    let permissive = matches!(plain, PlainText::Accepted { .. });
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    let mut total = raw.len();
    loop {
        match feed(&mut acceptor, raw.get(fed..).unwrap_or_default()) {
            Ok(Some(Fed { accepted, overrun })) => {
                if !keep {
                    raw = Vec::new();
                }
                return Ok(FirstBytes::Tls(Box::new(ClientHelloRead {
                    accepted,
                    tcp,
                    raw,
                    overrun,
                })));
            }
            Ok(None) if total < MAX_HELLO => {}
            Ok(None) => {
                reset(tcp);
                return Err(Refusal::new(
                    Reason::HandshakeFailed,
                    "the ClientHello is longer than 64 KiB",
                ));
            }
            // Bytes that only look like TLS at first are the application's.
            Err(_) if permissive => return Ok(FirstBytes::Plain { tcp, prefix: raw }),
            Err(Malformed { error, alert }) => {
                if tcp.write_all(&alert).await.is_ok() {
                    close_after_alert(tcp).await;
                }
                return Err(refusal_of_error(&error));
            }
        }
        if keep {
            fed = raw.len();
        } else {
            raw.clear();
        }
        match read_some(&tcp, &mut raw).await {
            Ok(0) if permissive => return Ok(FirstBytes::Plain { tcp, prefix: raw }),
            Ok(0) => return Err(closed()),
            Ok(read) => total += read,
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// A complete ClientHello, and whether bytes behind it were left over.
struct Fed {
    accepted: Accepted,
    overrun: bool,
}

/// What is wrong with a ClientHello, and the alert that says so to the peer.
struct Malformed {
    error: rustls::Error,
    alert: Vec<u8>,
}

/// Feeds `bytes`, which were read from the socket just now; `None` if more are needed.
fn feed(acceptor: &mut Acceptor, mut bytes: &[u8]) -> Result<Option<Fed>, Malformed> {
    while !bytes.is_empty() {
        // It reads from memory, so that an error means that it is full: a message too long.
        if acceptor.read_tls(&mut bytes).is_err() {
            let error = rustls::Error::General("the ClientHello is too long".into());
            return Err(Malformed {
                error,
                alert: Vec::new(),
            });
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Ok(Some(Fed {
                    accepted,
                    overrun: !bytes.is_empty(),
                }));
            }
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // Writing to memory does not fail.
                let _ = alert.write_all(&mut bytes);
                return Err(Malformed {
                    error,
                    alert: bytes,
                });
            }
        }
    }
    Ok(None)
}

/// Appends what the socket has now, or fails with `WouldBlock`. Asks the kernel itself: tokio
/// believes that a socket is empty until its reactor has seen it once.
fn read_now(tcp: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    into.resize(READ, 0);
    let outcome = (&*SockRef::from(tcp)).read(into);
    into.truncate(*outcome.as_ref().unwrap_or(&0));
    outcome
}

/// Appends what the socket has, at least one byte, or returns 0 at its end.
async fn read_some(tcp: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    into.reserve(READ);
    loop {
        tcp.readable().await?;
        match tcp.try_read_buf(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

fn broken(error: &io::Error) -> Refusal {
    Refusal::new(
        Reason::HandshakeFailed,
        format!("reading the first bytes: {error}"),
    )
}

fn closed() -> Refusal {
    Refusal::new(
        Reason::HandshakeFailed,
        "the peer closed before its ClientHello was complete",
    )
}
