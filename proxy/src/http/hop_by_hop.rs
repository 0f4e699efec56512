//! Headers that are about one connection, and end with it (RFC 9110, section 7.6.1).

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

/// Whether `Connection` names them or not.
const ALWAYS: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // Asks for HTTP/2 over plain text, which is not upgraded to.
    HeaderName::from_static("http2-settings"),
    header::TE,
];

/// Whether a header always is one, or is a proxy's own.
pub(super) fn is_one(name: &HeaderName) -> bool {
    ALWAYS.contains(name)
        || [header::PROXY_AUTHORIZATION, header::PROXY_AUTHENTICATE].contains(name)
}

/// Removes them of a request, but for `TE: trailers`, without which servers of gRPC answer nobody.
/// Credentials for a proxy are for this one, and go no further.
pub fn strip_request(headers: &mut HeaderMap) {
    let trailers = contains(headers, &header::TE, "trailers");
    strip(headers);
    headers.remove(header::PROXY_AUTHORIZATION);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes them of an answer.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(header::PROXY_AUTHENTICATE);
}

/// The protocol to which a request of HTTP/1.1 asks to be upgraded, or to which an answer says that
/// it is. HTTP/2 is none: behind it whatever the client sent would go past all routes.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    if !contains(headers, &header::CONNECTION, "upgrade") {
        return None;
    }
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next().filter(|_| protocols.next().is_none())?;
    let text = protocol.to_str().ok()?.trim();
    let one = !text.is_empty() && !text.contains(',');
    let http = text.split('/').next().is_some_and(|name| {
        name.eq_ignore_ascii_case("h2c")
            || name.eq_ignore_ascii_case("h2")
            || name.eq_ignore_ascii_case("http")
    });
    (one && !http).then(|| protocol.clone())
}

fn strip(headers: &mut HeaderMap) {
    // It is not what frames the message (RFC 9112, section 6.3), and would be taken for that.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !is_end_to_end(name))
        .collect();
    for name in ALWAYS.iter().chain(&named) {
        headers.remove(name);
    }
}

/// What frames a message or says whom it is for is no hop's business, and not taken away from those
/// behind us because a client says so.
fn is_end_to_end(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE].contains(name)
}

fn contains(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| {
        // `TE: trailers;q=0.5` is one too.
        let token = token.split(';').next().unwrap_or(token);
        token.trim().eq_ignore_ascii_case(wanted)
    })
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_is_about_one_connection_does_not_pass_and_neither_does_what_it_names() {
        let pairs = [
            ("host", "a"),
            ("connection", "close, X-One"),
            ("Connection", "x-two,, host, content-length"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "websocket"),
            ("http2-settings", "x"),
            ("te", "gzip"),
            ("trailer", "x-sum"),
            ("content-length", "3"),
            ("proxy-authorization", "Basic x"),
        ];
        let mut request = headers(&pairs);
        strip_request(&mut request);
        assert_eq!(
            names(&request),
            ["host", "x-three", "trailer", "content-length"]
        );
        let mut both = headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        strip_response(&mut both);
        assert!(
            both.is_empty(),
            "what does not frame it has no say: {both:?}"
        );
        let mut answer = headers(&[("proxy-authenticate", "x"), ("connection", "x"), ("x", "1")]);
        strip_response(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }

    #[test]
    fn that_a_client_takes_trailers_passes_whatever_else_it_takes() {
        for (te, passes) in [
            ("trailers", true),
            ("gzip, Trailers", true),
            ("trailers;q=1.0", true),
            ("gzip", false),
            ("trailersx", false),
        ] {
            let mut request = headers(&[("te", te), ("connection", "te")]);
            strip_request(&mut request);
            let expected = passes.then(|| HeaderValue::from_static("trailers"));
            assert_eq!(request.get("te"), expected.as_ref(), "{te}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_headers_and_never_to_http() {
        let asks = |pairs: &[(&str, &str)]| upgrade(&headers(pairs));
        let websocket = asks(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
        ]);
        assert_eq!(websocket, Some(HeaderValue::from_static("WebSocket")));
        for pairs in [
            &[("upgrade", "websocket")][..],
            &[("connection", "upgrade")],
            &[("connection", "upgrade"), ("upgrade", "")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", " H2C ")],
            &[("connection", "upgrade"), ("upgrade", "HTTP/2.0")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("upgrade", "h2c"),
            ],
        ] {
            assert_eq!(asks(pairs), None, "{pairs:?}");
        }
    }
}
