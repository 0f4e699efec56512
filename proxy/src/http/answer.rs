//! Answers that are ours: constant, so that strangers learn nothing of what is behind us.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{self, HeaderValue},
};

use super::body::Down;
use crate::refusal::Reason;

/// What a request is refused with. The record has the reason, the client the status and one word: 502
/// where the upstream may have seen something of the request, 503 where it has not.
pub(super) fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::BadRequest | Reason::HttpProtocol | Reason::Reset => StatusCode::BAD_REQUEST,
        Reason::NotAllowed | Reason::NoCertificate => StatusCode::FORBIDDEN,
        Reason::NoRoute => StatusCode::NOT_FOUND,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::Stalled => StatusCode::REQUEST_TIMEOUT,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::UpstreamCut
        | Reason::UpstreamClosed
        | Reason::UpstreamProtocol
        | Reason::PolicyChanged => StatusCode::BAD_GATEWAY,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Its one word.
fn word(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad-request\n",
        StatusCode::FORBIDDEN => "not-allowed\n",
        StatusCode::NOT_FOUND => "no-route\n",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed\n",
        StatusCode::REQUEST_TIMEOUT => "stalled\n",
        StatusCode::PAYLOAD_TOO_LARGE => "body-too-large\n",
        StatusCode::SERVICE_UNAVAILABLE => "upstream-down\n",
        StatusCode::GATEWAY_TIMEOUT => "upstream-timeout\n",
        StatusCode::BAD_GATEWAY => "upstream-failed\n",
        _ => "internal\n",
    }
}

/// The answer to who is refused with `status`.
pub(super) fn refused(
    status: StatusCode,
    method: &Method,
    body: impl FnOnce(Bytes) -> Down,
) -> Response<Down> {
    let text = Bytes::from_static(word(status).as_bytes());
    let mut answer = fixed(status, method, text, body);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let headers = answer.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(""));
    }
    answer
}

/// An answer in plain text. What HEAD asks for has the length alone: hyper would send the text in HTTP/2.
pub(super) fn fixed(
    status: StatusCode,
    method: &Method,
    mut text: Bytes,
    body: impl FnOnce(Bytes) -> Down,
) -> Response<Down> {
    let mut headers = HeaderMap::with_capacity(2);
    if *method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, text.len().into());
        text.clear();
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    with(status, headers, body(text))
}

/// An answer that sends the client elsewhere.
pub(super) fn redirect(status: StatusCode, location: HeaderValue, body: Down) -> Response<Down> {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::LOCATION, location);
    with(status, headers, body)
}

pub(super) fn with(status: StatusCode, headers: HeaderMap, body: Down) -> Response<Down> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}
