//! A request that goes to an upstream.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::{Body as _, Bytes, Incoming},
    header::{self, HeaderValue},
};
use tokio::time::timeout;

use super::{
    answer,
    body::{Down, Up},
    exchange::Exchange,
    forwarded::{self, Hop},
    headers, hop_by_hop,
    host::Host,
    rewrite,
    upgrade::Upgrading,
};
use crate::{
    config::{
        self,
        http::{self, Route},
    },
    refusal::{Reason, Refusal},
    upstream::{
        Upstream,
        http::{Answered, Body},
    },
};

/// Where it goes, and how.
pub(super) struct Forward<'a> {
    pub(super) http: &'a config::Http,
    pub(super) route: &'a Route,
    pub(super) to: &'a http::Forward,
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) host: Option<&'a Host>,
}

impl Forward<'_> {
    pub(super) async fn carry(
        self,
        exchange: &Arc<Exchange>,
        mut request: Request<()>,
        body: &mut Option<Incoming>,
    ) -> Result<Response<Down>, Refusal> {
        let length = body.as_ref().map_or(0, |body| body.size_hint().lower());
        if let Some(most) = self.to.max_body
            && length > most
        {
            let detail = format!("a body of {length} bytes, and max_body is {most}");
            return Err(Refusal::new(Reason::BodyTooLarge, detail));
        }
        let expects = request.headers().contains_key(header::EXPECT);
        // An upgrade is something of HTTP/1.1, and hyper knows of it only then.
        let protocol = match request.version() {
            Version::HTTP_11 => hop_by_hop::upgrade(request.headers()),
            _ => None,
        };
        let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut parts, ()) = request.into_parts();
        parts.headers = self.headers(exchange, parts.headers, protocol)?;
        let target = rewrite::target(&parts.uri, &self.route.path, self.to.prefix.as_deref())
            .map_err(|error| Refusal::new(Reason::BadRequest, error.to_string()))?;
        parts.uri = target.into();
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let method = parts.method.clone();
        let body = match body.take() {
            Some(body) if !body.is_end_stream() => {
                Up::new(body, Arc::clone(exchange), self.to.max_body, expects).boxed_unsync()
            }
            _ => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        };
        let request = Request::from_parts(parts, body);
        let mut answered = self.ask(exchange, request).await?;
        exchange.is_behind(answered.at, answered.server.as_deref());
        if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = client else {
                return Err(Refusal::new(
                    Reason::UpstreamCut,
                    "the upstream switches protocols without being asked to",
                ));
            };
            let server = hyper::upgrade::on(&mut answered.response);
            let (parts, _) = answered.response.into_parts();
            let headers = switching(parts.headers);
            exchange.session.upgrade(Upgrading {
                client,
                server,
                exchange: Arc::clone(exchange),
                upstream: Arc::clone(&self.upstream.name),
                at: answered.at,
                peer: answered.server,
                under_way: answered.under_way,
            });
            let body = Down::own(Bytes::new(), Arc::clone(exchange));
            return Ok(answer::with(StatusCode::SWITCHING_PROTOCOLS, headers, body));
        }
        let (mut parts, body) = answered.response.into_parts();
        hop_by_hop::strip_response(&mut parts.headers);
        if has_no_body(&method, parts.status) {
            exchange.answered();
        }
        let body = Down::upstream(body, Arc::clone(exchange));
        Ok(answer::with(parts.status, parts.headers, body))
    }

    /// Those that the upstream gets.
    fn headers(
        &self,
        exchange: &Exchange,
        mut headers: HeaderMap,
        protocol: Option<HeaderValue>,
    ) -> Result<HeaderMap, Refusal> {
        let session = &exchange.session;
        hop_by_hop::strip_request(&mut headers);
        headers.remove(header::EXPECT);
        join_cookies(&mut headers);
        let asked = self.host.and_then(Host::header);
        let client = session.of.client.ip().to_canonical();
        let hop = Hop {
            client,
            tls: session.tls.is_some(),
            own: session.of.own.as_deref(),
            certificate: session.of.identity.as_deref(),
            trusted: self
                .http
                .forwarded_from
                .iter()
                .any(|prefix| prefix.contains(&client)),
        };
        forwarded::announce(&mut headers, &hop, asked.as_ref());
        headers::change_request(&mut headers, &self.to.headers);
        // HTTP/1.0 may have none, and what comes after us needs one.
        let host = self.to.host.clone().or(asked);
        headers.insert(
            header::HOST,
            host.unwrap_or_else(|| HeaderValue::from_static("localhost")),
        );
        if let Some(protocol) = protocol {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        Ok(headers)
    }

    /// Waits for the head of the answer.
    async fn ask(&self, exchange: &Exchange, request: Request<Body>) -> Result<Answered, Refusal> {
        let session = &exchange.session;
        let announced = session.announced();
        let mut asked = Box::pin(self.upstream.request(&session.data, &announced, request));
        let Some(most) = self.to.timeout else {
            return asked.await.map_err(|failed| failed.refusal);
        };
        let answered = loop {
            let before = exchange.up.turn();
            // While the client still sends, the server is not what takes the time.
            match timeout(most, asked.as_mut()).await {
                Ok(answered) => break answered,
                Err(_) if exchange.up.turn() != before => {}
                Err(_) => {
                    let span = humantime::format_duration(most);
                    return Err(Refusal::new(
                        Reason::UpstreamTimeout,
                        format!("{} gave no answer for {span}", self.upstream.name),
                    ));
                }
            }
        };
        answered.map_err(|failed| failed.refusal)
    }
}

/// What stays of the headers of 101: without these it would not be one.
fn switching(mut headers: HeaderMap) -> HeaderMap {
    let protocol = headers.get(header::UPGRADE).cloned();
    hop_by_hop::strip_response(&mut headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    headers
}

/// RFC 9113, section 8.2.3: HTTP/2 may bring them one by one, HTTP/1.1 has a single header.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether an answer ends with its head, whatever that says (RFC 9112, section 6.3).
fn has_no_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_came_one_by_one_leave_as_one() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        join_cookies(&mut headers);
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2"]);
    }
}
