//! Requests to an upstream: over a connection that is there, or a new one.
//!
//! ```text
//! request: choose an endpoint --> shelf: idle HTTP/1.1 | HTTP/2 with room --> send --> Answered
//!            ^ retry elsewhere        | nothing there                          |
//!            |                        dial --------------------------> new ----+
//!            +---- nothing of the request was sent <---------------------------+
//! ```
//!
//! What is sent is sent once: a request of which the server may have seen a byte is not repeated
//! (RFC 9110, section 9.2.2), whatever its method.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::combinators::UnsyncBoxBody;
use hyper::{Request, Response, body::Bytes, header};

use super::{Endpoint, Stream, UnderWay, Upstream, dial::Speaks, is_own};
use crate::{
    addr::UpstreamAddr,
    config::HttpVersion,
    data::DataPath,
    proxy_header::Announced,
    record::TlsFacts,
    refusal::{Reason, Refusal},
    tls::Proven,
};

mod answer;
mod keeper;
mod lent;
mod link;
mod one;
mod pool;
mod shelf;
mod two;

pub use answer::AnswerBody;
use answer::Hold;
use link::Link;
pub(super) use pool::Pool;
use shelf::Shelf;

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// Connections that turned out closed, or on which the server declined, before a new one is made.
const STALE: usize = 3;

/// A client that gives up before says nothing of the endpoint, to which connecting takes longer
/// where it is on another continent.
const PATIENCE: Duration = Duration::from_millis(100);

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Answered {
    /// The answer. Its connection is kept for the next request when its body has ended, if that of
    /// the request has too; dropped before that, the rest of both is given up.
    pub response: Response<AnswerBody>,
    /// Which endpoint gave it.
    pub at: UpstreamAddr,
    /// Whom that proved to be, in TLS.
    pub server: Option<Arc<Proven>>,
    /// What was negotiated with it, in TLS.
    pub facts: Option<Arc<TlsFacts>>,
    /// With 101 (Switching Protocols) alone: counts it for as long as it is held. The connection is
    /// then whoever's calls `hyper::upgrade::on`, to judge at reloads too.
    pub under_way: Option<UnderWay>,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failed {
    /// The reason.
    pub refusal: Refusal,
    /// Whether the server may have seen something of the request.
    pub sent: bool,
}

/// Which versions a request may be sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Any,
    /// It asks for an upgrade, which HTTP/2 does not have (RFC 9113, section 8.6).
    One,
}

/// A connection, for one request.
enum Lease {
    One(one::Lease),
    Two(two::Lease),
}

/// There is no answer.
struct Unanswered {
    refusal: Refusal,
    /// The request, if the server has not seen any of it.
    back: Option<Request<Body>>,
    /// Whether the server is there and said that it did not look at the request.
    declined: bool,
}

/// None of a request was sent to an endpoint.
enum Unsent {
    /// It may be sent to another one.
    Back(Refusal, Box<Request<Body>>),
    /// It was.
    Failed(Failed),
}

impl Upstream {
    /// Sends `request` to an endpoint that takes it. Its target is in origin form, and it has a
    /// Host header. With an Upgrade header it goes by HTTP/1.1, if the upstream has that. Where `client` is announced to the
    /// endpoint (`send_proxy`), the connection is for this one request.
    ///
    /// Another endpoint is tried only if no byte of it was sent. Time is the caller's to bound: what
    /// is dropped is given up.
    ///
    /// # Errors
    /// [`Reason::UpstreamDown`] at once if no endpoint is up, [`Reason::UpstreamProtocol`] for an
    /// upgrade where HTTP/2 alone is spoken, else what the last one failed with.
    pub async fn request(
        self: &Arc<Self>,
        data: &Arc<DataPath>,
        client: &Announced<'_>,
        mut request: Request<Body>,
    ) -> Result<Answered, Failed> {
        let unsent = |refusal| Failed {
            refusal,
            sent: false,
        };
        let needs = Needs::of(&request);
        if needs == Needs::One && self.spec.http == HttpVersion::Two {
            let detail = format!(
                "the client asks for an upgrade, and {} is spoken to in HTTP/2 alone (http = \"2\"), \
                 which has none",
                self.name
            );
            return Err(unsent(Refusal::new(Reason::UpstreamProtocol, detail)));
        }
        let mut tried = Vec::new();
        let mut last = None;
        while tried.len() <= self.spec.retries as usize {
            let chosen = self.balancer.choose(&self.endpoints.load(), &tried);
            let Some(endpoint) = chosen else { break };
            let to = Towards {
                upstream: self,
                data,
                client,
                endpoint: &endpoint,
                needs,
            };
            match to.send(request).await {
                Ok(answered) => return Ok(answered),
                Err(Unsent::Failed(failed)) => return Err(failed),
                // It is this host that is short of something.
                Err(Unsent::Back(refusal, _)) if is_own(refusal.reason) => {
                    return Err(unsent(refusal));
                }
                Err(Unsent::Back(refusal, back)) => {
                    request = *back;
                    last = Some(refusal);
                }
            }
            tried.push(endpoint);
        }
        let refusal = last.unwrap_or_else(|| self.down(&self.endpoints.load()));
        Err(unsent(refusal))
    }

    /// Closes connections that are idle, also those that are in use now once they are not.
    pub fn close_idle(&self) {
        self.http.retire();
    }
}

/// One endpoint, for one request.
struct Towards<'a> {
    upstream: &'a Arc<Upstream>,
    data: &'a Arc<DataPath>,
    client: &'a Announced<'a>,
    endpoint: &'a Arc<Endpoint>,
    needs: Needs,
}

impl Towards<'_> {
    async fn send(&self, mut request: Request<Body>) -> Result<Answered, Unsent> {
        let mut under_way = self.endpoint.begin();
        let shelf = self.upstream.http.shelf(self.endpoint.at);
        let mut stale = 0;
        loop {
            let mut fresh = false;
            let reused = (stale < STALE).then(|| shelf.take(self.needs)).flatten();
            let lease = match reused {
                Some(lease) => lease,
                None => match Box::pin(self.open(&shelf, &mut fresh)).await {
                    Ok(lease) => lease,
                    Err(refusal) => return Err(Unsent::Back(refusal, Box::new(request))),
                },
            };
            let answer = match lease {
                Lease::One(lease) => lease.send(request, under_way).await,
                Lease::Two(lease) => lease.send(request, under_way).await,
            };
            let unanswered = match answer {
                Ok(answered) => {
                    self.endpoint.answered();
                    return Ok(answered);
                }
                Err(unanswered) => unanswered,
            };
            let Some(back) = unanswered.back else {
                return Err(Unsent::Failed(Failed {
                    refusal: unanswered.refusal,
                    sent: true,
                }));
            };
            let closed = fresh && !unanswered.declined;
            if closed {
                self.failed(&unanswered.refusal);
            }
            if closed || stale >= STALE {
                return Err(Unsent::Back(unanswered.refusal, Box::new(back)));
            }
            stale += 1;
            request = back;
            under_way = self.endpoint.begin();
        }
    }

    /// A connection, mostly a new one, which `fresh` then says.
    async fn open(&self, shelf: &Arc<Shelf>, fresh: &mut bool) -> Result<Lease, Refusal> {
        let spec = &self.upstream.spec;
        let shared = self.needs == Needs::Any
            && spec.send_proxy.is_none()
            && match spec.http {
                HttpVersion::One => false,
                HttpVersion::Two => true,
                HttpVersion::Negotiated => spec.tls.is_some() && !shelf.speaks_one(),
            };
        if !shared {
            return self.establish(shelf, fresh).await;
        }
        // Those who come while a connection is made that may serve them all wait for it.
        let failures = shelf.failures();
        let turn = shelf.dialling.lock().await;
        if let Some(lease) = shelf.take(self.needs) {
            return Ok(lease);
        }
        if let Some(refusal) = shelf.failed_since(failures) {
            return Err(refusal);
        }
        let turn = (!shelf.speaks_one()).then_some(turn);
        let established = self.establish(shelf, fresh).await;
        if let (Some(_), Err(refusal)) = (&turn, &established) {
            shelf.note_failure(refusal);
        }
        established
    }

    async fn establish(&self, shelf: &Arc<Shelf>, fresh: &mut bool) -> Result<Lease, Refusal> {
        *fresh = true;
        let mut begun = Begun {
            endpoint: self.endpoint,
            at: Instant::now(),
            over: false,
        };
        let established = self.connect(shelf).await;
        begun.over = true;
        established
    }

    async fn connect(&self, shelf: &Arc<Shelf>) -> Result<Lease, Refusal> {
        let Self {
            upstream,
            data,
            needs,
            ..
        } = *self;
        let speaks = match needs {
            Needs::Any => Speaks::Http,
            Needs::One => Speaks::HttpOne,
        };
        let reached = upstream.reach(data, self.endpoint.at, Some(self.client), speaks);
        let reached = Box::pin(reached).await.map_err(|refusal| {
            // Said of a tunnel, of which ALPN is the same.
            if refusal.reason != Reason::TunnelProtocol {
                return refusal;
            }
            let detail = format!(
                "{} speaks none of the versions of HTTP that ALPN offers it (an upgrade takes 1.1)",
                self.endpoint.at
            );
            Refusal::new(Reason::UpstreamProtocol, detail)
        });
        let (stream, _) = self.counted(reached)?;
        let (link, two) = Link::of(upstream, self.endpoint.at, &stream, speaks, data);
        if needs == Needs::Any && !two {
            shelf.found_to_speak_one();
        }
        // Whose policy is not of now may be refused here, which says nothing of the endpoint.
        let alive = upstream.http.register(upstream, data, link)?;
        let opened = match (stream, two) {
            (Stream::Plain(io), false) => one::open(io, alive, shelf).await.map(Lease::One),
            (Stream::Tls(tls), false) => one::open(tls.stream, alive, shelf).await.map(Lease::One),
            (Stream::Plain(io), true) => two::open(io, alive, shelf, data).await.map(Lease::Two),
            (Stream::Tls(tls), true) => two::open(tls.stream, alive, shelf, data)
                .await
                .map(Lease::Two),
        };
        self.counted(opened)
    }

    /// Counts a failure against the endpoint, if it is not this host's own.
    fn counted<T>(&self, outcome: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &outcome
            && !is_own(refusal.reason)
        {
            self.failed(refusal);
        }
        outcome
    }

    fn failed(&self, refusal: &Refusal) {
        let spec = &self.upstream.spec;
        // A client asked for HTTP/1.1, which the server may not speak: no reason to take it away
        // from all others.
        if self.needs == Needs::One && spec.tls.is_some() && spec.http == HttpVersion::Negotiated {
            self.endpoint.doubt();
        } else {
            self.endpoint.failed(refusal, &spec.health);
        }
    }
}

/// A connection that is being made. Dropped before its end, it was its request that took no longer:
/// a route's time was up, or its client went away. Neither counts as a failure, or clients could
/// take an endpoint down; but one that never answers would never be found out.
struct Begun<'a> {
    endpoint: &'a Endpoint,
    at: Instant,
    over: bool,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.over && self.at.elapsed() >= PATIENCE {
            self.endpoint.doubt();
        }
    }
}

impl Needs {
    fn of(request: &Request<Body>) -> Self {
        if request.headers().contains_key(header::UPGRADE) {
            Self::One
        } else {
            Self::Any
        }
    }
}

impl Unanswered {
    /// Of `error`, which came instead of an answer.
    fn new(link: &Link, error: &hyper::Error, hold: &Hold) -> Self {
        let at = link.at;
        let cause = error
            .source()
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        let refusal = if let Some(refusal) = link.refused() {
            refusal
        } else if error.is_user() || hold.request_broke() {
            let detail = format!("the body of a request to {at} broke off: {cause}");
            Refusal::new(Reason::Reset, detail)
        } else if error.is_parse() {
            let detail = format!("{at} answers with what is no HTTP: {cause}");
            Refusal::new(Reason::UpstreamProtocol, detail)
        } else {
            let detail = format!("{at} ended a request without an answer: {cause}");
            Refusal::new(Reason::UpstreamClosed, detail)
        };
        Self {
            refusal,
            back: None,
            declined: false,
        }
    }
}

#[cfg(test)]
mod tests;
