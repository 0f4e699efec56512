//! HTTP/2: a connection is shared by several requests.

use std::{
    error::Error as _,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use hyper::{
    Method, Request, Uri, Version,
    client::conn::http2::{Builder, SendRequest},
    header::{self, HeaderMap},
    http::{
        request,
        uri::{self, Authority, Scheme},
    },
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{
    Answered, Body, Lease as AnyLease, Link, Shelf, Unanswered,
    answer::{AnswerBody, Hold},
    lent::{KEPT, Lent, lend, reclaim},
    one::MOST_HEAD,
    pool::Alive,
    shelf::IDLE,
};
use crate::{
    data::DataPath,
    refusal::{Reason, Refusal},
    upstream::UnderWay,
};

/// Requests at once on one connection, if the server allows them. A connection is one task's, and so
/// one processor's: above this another one is better.
const MOST_STREAMS: usize = 64;

/// Bytes of an answer that may wait for a client who does not read: 16 MiB of the 128 streams that a
/// client's connection may have where nothing else is configured. One stream brings 12 MB/s at a round trip of 10 ms.
const STREAM_WINDOW: u32 = 128 * 1024;

/// All streams' windows, so that clients who do not read hold up nobody else: 8 MiB at most.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// Bytes of a request that may wait for the server to read them.
const SEND_BUFFER: usize = 256 * 1024;

/// A server that hangs is noticed by pings while a request is under way and nothing comes. Not more
/// often: gRPC's servers close the connection of whoever pings twice in five minutes. A host that
/// is gone is noticed sooner, by TCP.
const PING: Duration = Duration::from_secs(310);
const PONG: Duration = Duration::from_secs(20);

/// Until the server's SETTINGS tell how many streams it allows, none are opened.
const UNKNOWN: usize = 0;

/// A connection that several requests share.
pub(super) struct Two {
    link: Arc<Link>,
    sender: SendRequest<Lent>,
    secure: bool,
    bounds: Arc<Bounds>,
    streams: AtomicUsize,
    closing: AtomicBool,
    idle_since: Mutex<Instant>,
}

/// What the server's SETTINGS say.
struct Bounds {
    streams: AtomicUsize,
    known: Notify,
    over: AtomicBool,
    /// Of the task that reads the settings from the connection, until they are known.
    reader: Mutex<Option<Waker>>,
}

/// A place on a connection, for one request.
pub(super) struct Lease {
    two: Arc<Two>,
}

/// Begins to speak HTTP/2 on `io`.
pub(super) async fn open(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    alive: Alive,
    shelf: &Arc<Shelf>,
    data: &DataPath,
) -> Result<Lease, Refusal> {
    let link = Arc::clone(&alive.link);
    let bounds = Arc::new(Bounds {
        streams: AtomicUsize::new(UNKNOWN),
        known: Notify::new(),
        over: AtomicBool::new(false),
        reader: Mutex::new(None),
    });
    let spawner = Spawner(Arc::new(Mutex::new(Some(First {
        alive,
        bounds: Arc::clone(&bounds),
    }))));
    let begun = Builder::new(spawner)
        .timer(TokioTimer::new())
        .initial_max_send_streams(UNKNOWN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MOST_HEAD)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .handshake(TokioIo::new(io))
        .await;
    let no_two = |detail: String| {
        let detail = format!("beginning HTTP/2 with {}: {detail}", link.at);
        Refusal::new(Reason::UpstreamProtocol, detail)
    };
    let (sender, connection) = begun.map_err(|error| no_two(error.to_string()))?;
    let (drives, keeps) = (Arc::clone(&bounds), Arc::clone(shelf));
    tokio::spawn(async move {
        {
            let mut connection = pin!(connection);
            poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if drives.streams.load(Ordering::Relaxed) == UNKNOWN {
                    *drives.reader.lock() = Some(cx.waker().clone());
                }
                let allowed = connection.current_max_send_streams();
                if drives.streams.swap(allowed, Ordering::Relaxed) != allowed {
                    drives.known.notify_one();
                }
                polled.map(drop)
            })
            .await;
        }
        drives.over.store(true, Ordering::Relaxed);
        drives.known.notify_one();
        keeps.forget_closed();
    });
    let known = async {
        while bounds.streams.load(Ordering::Relaxed) == UNKNOWN {
            if bounds.over.load(Ordering::Relaxed) {
                return Err(no_two(
                    "the server closed the connection; it may speak HTTP/1.1 alone (http = \"1.1\")"
                        .into(),
                ));
            }
            bounds.known.notified().await;
        }
        Ok(())
    };
    data.within_handshake(known).await?;
    let two = Arc::new(Two {
        secure: link.server.is_some(),
        link,
        sender,
        bounds,
        streams: AtomicUsize::new(1),
        closing: AtomicBool::new(false),
        idle_since: Mutex::new(Instant::now()),
    });
    if !two.link.of_one_client {
        shelf.share(&two);
    }
    Ok(Lease { two })
}

/// Runs what a connection consists of, of which the first has its socket.
#[derive(Clone)]
struct Spawner(Arc<Mutex<Option<First>>>);

struct First {
    alive: Alive,
    bounds: Arc<Bounds>,
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, part: F) {
        let Some(First { alive, bounds }) = self.0.lock().take() else {
            tokio::spawn(part);
            return;
        };
        let link = Arc::clone(&alive.link);
        let task = tokio::spawn(async move {
            let _alive = alive;
            let mut part = pin!(part);
            poll_fn(|cx| {
                let polled = part.as_mut().poll(cx);
                // hyper tells nobody that the settings have come.
                if bounds.streams.load(Ordering::Relaxed) == UNKNOWN
                    && let Some(reader) = bounds.reader.lock().take()
                {
                    reader.wake();
                }
                polled
            })
            .await;
        });
        link.runs_in(task.abort_handle());
    }
}

impl Two {
    /// Whether no further request can begin on it.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Whether it has been idle for too long, or has grown too old.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let idle = self.streams.load(Ordering::Relaxed) == 0;
        !self.link.may_serve_at(now) || (idle && now > *self.idle_since.lock() + IDLE)
    }

    /// A place on it, if it has one. Not from two threads at once.
    pub(super) fn lease(self: &Arc<Self>, now: Instant) -> Option<Lease> {
        let allowed = self.bounds.streams.load(Ordering::Relaxed);
        let free = self.streams.load(Ordering::Relaxed) < allowed.min(MOST_STREAMS);
        if !free || self.is_closed() || !self.link.may_serve_at(now) {
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        Some(Lease {
            two: Arc::clone(self),
        })
    }
}

impl Lease {
    pub(super) async fn send(
        self,
        request: Request<Body>,
        under_way: UnderWay,
    ) -> Result<Answered, Unanswered> {
        let two = Arc::clone(&self.two);
        let (mut parts, body) = request.into_parts();
        // hyper gives back only what it has not begun to send.
        let head = Head::of(&parts);
        if let Err(refusal) = address(&mut parts, two.secure) {
            return Err(Unanswered {
                refusal,
                back: Some(head.with(body)),
                declined: true,
            });
        }
        parts.version = Version::HTTP_2;
        let (body, lender) = lend(body, KEPT);
        let request = Request::from_parts(parts, body);
        let sent = two.sender.clone().try_send_request(request);
        let link = Arc::clone(&two.link);
        let mut hold = Hold::new(AnyLease::Two(self), link, under_way, lender);
        let mut error = match sent.await {
            Ok(response) => return Ok(AnswerBody::answered(response, hold)),
            Err(error) => error,
        };
        let closed = error.take_message().is_some();
        let declined = declined(error.error());
        if closed || declined == Some(Declined::Connection) {
            two.closing.store(true, Ordering::Relaxed);
        }
        let mut unanswered = Unanswered::new(&two.link, error.error(), &hold);
        if closed || declined.is_some() {
            let lender = hold.take_lender();
            unanswered.back = reclaim(lender.as_ref()).map(|body| head.with(body));
        }
        unanswered.declined = declined.is_some();
        Err(unanswered)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let two = &self.two;
        if two.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            *two.idle_since.lock() = Instant::now();
        }
    }
}

/// What a server said that it did not look at (RFC 9113, sections 6.8 and 8.7).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Declined {
    /// This one request.
    Stream,
    /// This one and all that would come after it.
    Connection,
}

fn declined(error: &hyper::Error) -> Option<Declined> {
    let error = error.source()?.downcast_ref::<h2::Error>()?;
    if !error.is_remote() {
        return None;
    }
    // Only requests above the last one that a GOAWAY names end with it.
    if error.is_go_away() {
        return Some(Declined::Connection);
    }
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    refused.then_some(Declined::Stream)
}

/// The head of a request, as it came.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn of(parts: &request::Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        }
    }

    fn with(self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Makes `:scheme` and `:authority` of the Host header (RFC 9113, section 8.3.1).
fn address(parts: &mut request::Parts, secure: bool) -> Result<(), Refusal> {
    let internal = |detail: String| Refusal::new(Reason::Internal, detail);
    let host = parts
        .headers
        .remove(header::HOST)
        .ok_or_else(|| internal("a request for an upstream has no Host header".into()))?;
    let authority = Authority::try_from(host.as_bytes());
    let mut uri = uri::Parts::default();
    uri.authority = Some(authority.map_err(|error| internal(format!("Host {host:?}: {error}")))?);
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from_parts(uri)
        .map_err(|error| internal(format!("the target {}: {error}", parts.uri)))?;
    Ok(())
}
