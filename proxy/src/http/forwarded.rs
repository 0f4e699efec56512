//! What the upstream is told of the client, and what clients may tell of those behind them.
//!
//! A client that is not trusted tells nothing: whatever it sends under these names is removed, also in
//! the spellings that applications cannot tell from them (`X_Forwarded_For` is the same variable in CGI,
//! WSGI and Rack). One that is trusted is added to, and what it did not say is filled in only where
//! that contradicts nothing that it did say.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

use crate::tls::Proven;

mod certificate;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The way from a client to us.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// Who connected, by the PROXY header of who may say so.
    pub client: IpAddr,
    /// Whether it speaks TLS with us.
    pub tls: bool,
    /// Who we showed ourselves to be: [`ListenerPolicy::own`](crate::policy::listener::ListenerPolicy::own).
    pub own: Option<&'a str>,
    /// What it proved to be.
    pub certificate: Option<&'a Proven>,
    /// Whether it is one of `forwarded_from`.
    pub trusted: bool,
}

/// Makes of a client's headers what the upstream is told: X-Forwarded-For, -Proto, -Host and
/// -Client-Cert, X-Real-IP and Forwarded. `host` is the one that the client asks for.
pub fn announce(headers: &mut HeaderMap, hop: &Hop<'_>, host: Option<&HeaderValue>) {
    remove_claims(headers, hop.trusted);
    let client = hop.client.to_canonical();
    let scheme = if hop.tls { "https" } else { "http" };
    // After the removal only a trusted client's are there. What says of a client by one name where
    // a request comes from must not be contradicted by the other.
    let is_told = headers.contains_key(FOR) || headers.contains_key(header::FORWARDED);
    if !is_told || headers.contains_key(FOR) {
        extend(headers, FOR, &client.to_string());
    }
    if !is_told || headers.contains_key(header::FORWARDED) {
        extend(headers, header::FORWARDED, &forwarded(client, scheme, host));
    }
    if !is_told && !headers.contains_key(REAL_IP) {
        extend(headers, REAL_IP, &client.to_string());
    }
    if !headers.contains_key(PROTO) {
        headers.insert(PROTO, HeaderValue::from_static(scheme));
    }
    if let Some(host) = host
        && !headers.contains_key(HOST)
    {
        headers.insert(HOST, host.clone());
    }
    if let Some(proven) = hop.certificate {
        extend(headers, CERTIFICATE, &certificate::element(proven, hop.own));
    }
}

/// Removes what a client says of those behind it; of one that is trusted only what is spelled in another
/// way, which it has passed on from somebody who is not.
pub(super) fn remove_claims(headers: &mut HeaderMap, trusted: bool) {
    let is_removed = |name: &&HeaderName| {
        let name = name.as_str();
        let other_spelling = || name.bytes().any(|byte| folded(byte) != byte);
        is_claim(name) && (!trusted || other_spelling())
    };
    let removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Whether a header says something of a client, in whatever spelling. Names are in lower case.
pub(super) fn is_claim(name: &str) -> bool {
    const FAMILY: &str = "x-forwarded-";
    let folded = || name.bytes().map(folded);
    let is = |known: &str| folded().eq(known.bytes());
    is("forwarded")
        || is("x-forwarded")
        || is(REAL_IP.as_str())
        || folded().take(FAMILY.len()).eq(FAMILY.bytes())
}

/// Whatever is neither letter nor digit becomes `_` in the variables of CGI.
pub(super) fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte
    } else {
        b'-'
    }
}

/// Puts `element` behind what is there, in one line: of several lines some applications read the
/// first alone.
fn extend(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut list = Vec::with_capacity(element.len());
    for value in headers.get_all(&name) {
        if !value.is_empty() {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
    }
    list.extend_from_slice(element.as_bytes());
    match HeaderValue::from_maybe_shared(Bytes::from(list)) {
        Ok(value) => {
            headers.insert(name, value);
        }
        // Nothing that is put here has a control character; if it had, nothing would be told.
        Err(_) => {
            headers.remove(name);
        }
    }
}

/// An element of `Forwarded` (RFC 7239, section 4).
fn forwarded(client: IpAddr, scheme: &str, host: Option<&HeaderValue>) -> String {
    let node = match client {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    match host.and_then(|host| host.to_str().ok()) {
        Some(host) => format!("for={node};host={};proto={scheme}", token_or_quoted(host)),
        None => format!("for={node};proto={scheme}"),
    }
}

fn token_or_quoted(text: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests;
