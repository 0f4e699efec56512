//! One request and its answer.
//!
//! ```text
//! head --host--> --route--> --allow--> redirect | answer | forward: Up --> upstream --> Down
//! ```

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use parking_lot::Mutex;

use super::{
    answer,
    body::{self, Down},
    forward, headers,
    host::{self, Host},
    motion::Motion,
    rewrite,
    session::Session,
    streams::Stream,
};
use crate::{
    addr::UpstreamAddr,
    config::http::RouteAction,
    policy::http::{HttpPolicy, Routed},
    record::request::RequestRecord,
    refusal::{Reason, Refusal},
    tls::Proven,
};

/// A request that is under way, until its body and that of its answer are done with. Then its record
/// is written.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Whose it is.
    pub(super) session: Arc<Session>,
    key: u64,
    record: Mutex<RequestRecord>,
    /// The body of the request.
    pub(super) up: Motion,
    /// That of the answer.
    pub(super) down: Motion,
    /// The head of the upstream's answer has come.
    begun: AtomicBool,
    answered: AtomicBool,
    pub(super) stream: Stream,
}

/// Answers one request.
pub(super) async fn answer(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Down>, Infallible> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let exchange = session.begin(&request);
    let method = request.method().clone();
    let expects = request.headers().contains_key(header::EXPECT);
    let mut body = Some(body);
    let answer = carry(&exchange, request, &mut body).await;
    let answer = answer.unwrap_or_else(|refusal| refused(&exchange, &method, refusal));
    body::linger(body, expects, &exchange.stream);
    exchange.record.lock().status = Some(answer.status());
    if method == Method::HEAD {
        exchange.answered();
    }
    Ok(answer)
}

fn refused(exchange: &Arc<Exchange>, method: &Method, refusal: Refusal) -> Response<Down> {
    // What the client's body ended with is the cause of what it looks like from behind.
    let status = answer::status(exchange.refuse(refusal));
    let body = |text| Down::own(text, Arc::clone(exchange));
    answer::refused(status, method, body)
}

async fn carry(
    exchange: &Arc<Exchange>,
    request: Request<()>,
    body: &mut Option<Incoming>,
) -> Result<Response<Down>, Refusal> {
    if request.method() == Method::CONNECT {
        let what = "CONNECT, which is for forward proxies";
        exchange.refuse(Refusal::new(Reason::BadRequest, what));
        let none = |text| Down::own(text, Arc::clone(exchange));
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Ok(answer::refused(status, request.method(), none));
    }
    let host = host::of(&request)?;
    exchange.record.lock().host = host.as_ref().map(|host| host.as_str().to_owned());
    let http = exchange.session.policy();
    let routed = http.find(host.as_ref().map(|host| host.name()), &request)?;
    let routed = routed.ok_or_else(|| Refusal::new(Reason::NoRoute, ""))?;
    exchange.record.lock().rule = Some(Arc::clone(routed.name));
    let method = request.method().clone();
    let taken = take(exchange, &http, routed, host.as_ref(), request, body).await;
    // What a route says of its answers, as Strict-Transport-Security, is not about those that succeed
    // alone.
    let mut answer = taken.unwrap_or_else(|refusal| refused(exchange, &method, refusal));
    headers::change_answer(answer.headers_mut(), &routed.route.answer_headers);
    Ok(answer)
}

/// Does what the route of a request says.
async fn take(
    exchange: &Arc<Exchange>,
    http: &HttpPolicy,
    routed: Routed<'_>,
    host: Option<&Host>,
    request: Request<()>,
    body: &mut Option<Incoming>,
) -> Result<Response<Down>, Refusal> {
    exchange.session.judge(routed.route)?;
    match &routed.route.action {
        RouteAction::Answer(fixed) => {
            let text = fixed.body.clone().into();
            let body = |text| Down::own(text, Arc::clone(exchange));
            Ok(answer::fixed(fixed.status, request.method(), text, body))
        }
        RouteAction::Redirect(redirect) => {
            let host = host.map_or("", Host::as_str);
            let tls = exchange.session.tls.is_some();
            let path = &routed.route.path;
            let location = rewrite::location(redirect, path, request.uri(), host, tls);
            let location =
                location.map_err(|error| Refusal::new(Reason::BadRequest, error.to_string()))?;
            let body = Down::own(Default::default(), Arc::clone(exchange));
            Ok(answer::redirect(redirect.status, location, body))
        }
        RouteAction::Forward(to) => {
            let Routed {
                route, upstream, ..
            } = routed;
            let upstream = upstream
                .ok_or_else(|| Refusal::new(Reason::Internal, "a route without its upstream"))?;
            let forward = forward::Forward {
                route,
                to,
                upstream,
                host,
                http: &http.spec,
            };
            forward.carry(exchange, request, body).await
        }
    }
}

impl Exchange {
    pub(super) fn new(session: Arc<Session>, key: u64, record: RequestRecord) -> Self {
        Self {
            session,
            key,
            record: Mutex::new(record),
            up: Motion::default(),
            down: Motion::default(),
            begun: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            stream: Stream::current(),
        }
    }

    /// Notes why it is refused or cut off, once; gives the first reason.
    pub(super) fn refuse(&self, refusal: Refusal) -> Reason {
        let mut record = self.record.lock();
        let reason = refusal.reason;
        record.refuse(refusal);
        record.refusal().map_or(reason, |first| first.reason)
    }

    /// Its answer breaks off, and in HTTP/1.1 the connection with it.
    pub(super) fn broke(&self, refusal: Refusal) {
        let mut record = self.record.lock();
        record.refuse(refusal);
        if let Some(first) = record.refusal()
            && self.stream.is_connection()
        {
            self.session.broke(first);
        }
    }

    /// All of the answer was handed on.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// It has become another protocol, and more follows its answer.
    pub(super) fn goes_on(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }

    /// Notes who answers.
    pub(super) fn is_behind(&self, at: UpstreamAddr, server: Option<&Proven>) {
        self.begun.store(true, Ordering::Relaxed);
        let mut record = self.record.lock();
        record.upstream = Some(at);
        record.upstream_identity = server.map(|server| server.to_string().into());
    }

    /// Whether the client has kept it waiting since this was asked the last time. `written` is whether
    /// the client took bytes of its only answer meanwhile.
    pub(super) fn has_stalled(&self, written: bool) -> bool {
        // Of a conversation whose answer has begun, it may be the server that has to speak.
        let up = self.up.has_stalled() && !self.begun.load(Ordering::Relaxed);
        let down = self.down.has_stalled();
        up || (down && !written)
    }

    /// Ends it, if that can be done without ending the connection; whether it was.
    pub(super) fn cut(&self, refusal: Refusal) -> bool {
        self.refuse(refusal);
        self.stream.end()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.session.leave(self.key);
        let record = self.record.get_mut();
        record.bytes_up = self.up.bytes();
        record.bytes_down = self.down.bytes();
        if !*self.answered.get_mut() && record.refusal().is_none() {
            match self.session.cause() {
                Some(cause) => record.refuse_with_connection(cause),
                None => record.refuse(Refusal::new(
                    Reason::Reset,
                    "the client went away before it had its answer",
                )),
            }
        }
    }
}

impl HttpPolicy {
    fn find<B>(
        &self,
        host: Option<&str>,
        request: &Request<B>,
    ) -> Result<Option<Routed<'_>>, Refusal> {
        let path = request.uri().path();
        let found = self
            .routes
            .find_plainly(host, path, request.method(), request.headers());
        let found = found.map_err(|error| Refusal::new(Reason::BadRequest, error.to_string()))?;
        Ok(found.and_then(|found| self.routed(found)))
    }
}
