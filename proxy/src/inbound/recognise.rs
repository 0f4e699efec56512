//! From the first bytes to who is there.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::not_accepted;
use crate::{
    data::{DataPath, HandshakeDeadline},
    policy::InboundRoute,
    record::Record,
    refusal::Refusal,
    relay::Transport as _,
    tls::{
        hello::{ClientHelloRead, FirstBytes, PlainText, first_bytes},
        server::{Terminated, Terminator},
    },
};

/// What a connection turned out to be.
pub(super) enum Met {
    /// As it is, with what was read of it.
    Plain(TcpStream, Vec<u8>),
    /// Terminated TLS, for the application alone.
    Mtls(Box<Terminated>),
    /// A tunnel of a peer.
    Tunnel(Box<Terminated>),
}

/// Finds out who is at the other end of `stream`, all of it within one deadline.
pub(super) async fn meet(
    data: &DataPath,
    route: &InboundRoute,
    stream: TcpStream,
    peer: SocketAddr,
    record: &mut Record,
) -> Result<Met, Refusal> {
    // Where only plain text comes there is nothing to recognise: the server may speak first.
    if !route.terminates_tls() {
        return Ok(Met::Plain(stream, Vec::new()));
    }
    let deadline = data.handshake_deadline();
    let plain = PlainText::of(route, peer);
    let hello = match deadline.bound(Box::pin(first_bytes(stream, plain))).await? {
        FirstBytes::Plain { tcp, prefix } => return Ok(Met::Plain(tcp, prefix)),
        FirstBytes::Tls(hello) => hello,
    };
    let tunnel = hello.offers_tunnel();
    let terminator = if tunnel { &route.tunnel } else { &route.mtls };
    match terminator {
        Some(terminator) => {
            record.own_identity = route.own.clone();
            let terminated = terminate(data, terminator, hello, peer, deadline).await?;
            Ok(if tunnel {
                Met::Tunnel(terminated)
            } else {
                Met::Mtls(terminated)
            })
        }
        // The application's own TLS.
        None if plain != PlainText::Refused => {
            let ClientHelloRead { tcp, raw, .. } = *hello;
            Ok(Met::Plain(tcp, raw))
        }
        None => {
            let mut tcp = hello.tcp;
            tcp.abort();
            Err(not_accepted())
        }
    }
}

/// Ends the handshake, in its turn.
pub(crate) async fn terminate(
    data: &DataPath,
    terminator: &Terminator,
    mut hello: Box<ClientHelloRead>,
    peer: SocketAddr,
    deadline: HandshakeDeadline,
) -> Result<Box<Terminated>, Refusal> {
    let _place = match data.answer_handshake(&deadline).await {
        Ok(place) => place,
        Err(refusal) => {
            hello.tcp.abort();
            return Err(refusal);
        }
    };
    let handshake = Box::pin(terminator.terminate(hello, peer));
    deadline.bound(handshake).await.map(Box::new)
}

impl PlainText {
    fn of(route: &InboundRoute, peer: SocketAddr) -> Self {
        if route.accepts_plain_from(peer) {
            Self::Accepted {
                detect: route.detect,
            }
        } else {
            Self::Refused
        }
    }
}
