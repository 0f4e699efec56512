//! HTTP/1.1: a connection is one request's at a time.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{
    Request, Response, Version,
    body::{Body as _, Incoming},
    client::conn::http1::{Builder, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Answered, Body, Lease as AnyLease, Link, Shelf, Unanswered,
    answer::{AnswerBody, Hold},
    lent::{Lent, lend, reclaim},
    pool::Alive,
    shelf::IDLE,
};
use crate::{
    refusal::{Reason, Refusal},
    upstream::UnderWay,
};

/// Bytes that a connection may hold for each direction; hyper takes 400 KiB by itself.
const BUFFER: usize = 128 * 1024;

/// The longest head of an answer.
pub(super) const MOST_HEAD: u32 = 64 * 1024;

/// A connection and what was left with it.
struct One {
    link: Arc<Link>,
    /// The answer was read to its end before the connection was ready for the next request.
    left: Mutex<Option<(SendRequest<Lent>, Instant)>>,
}

/// A connection that is ready for a request.
pub(super) struct Idle {
    sender: SendRequest<Lent>,
    one: Arc<One>,
    until: Instant,
}

/// A connection, for one request.
pub(super) struct Lease {
    sender: SendRequest<Lent>,
    one: Arc<One>,
    shelf: Arc<Shelf>,
    idle: Duration,
}

/// Begins to speak HTTP/1.1 on `io`.
pub(super) async fn open(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    alive: Alive,
    shelf: &Arc<Shelf>,
) -> Result<Lease, Refusal> {
    let link = Arc::clone(&alive.link);
    let mut builder = Builder::new();
    builder
        .max_buf_size(BUFFER)
        .max_header_size(MOST_HEAD as usize);
    let begun = builder.handshake(TokioIo::new(io)).await;
    let (sender, connection) = begun.map_err(|error| {
        let detail = format!("beginning HTTP/1.1 with {}: {error}", link.at);
        Refusal::new(Reason::Internal, detail)
    })?;
    let one = Arc::new(One {
        link: Arc::clone(&link),
        left: Mutex::new(None),
    });
    let (drives, keeps) = (Arc::clone(&one), Arc::clone(shelf));
    // One task for as long as the connection lives: it sees the server close it, and writes the
    // request while the answer is read. Upgrades cost nothing where there is none.
    let task = tokio::spawn(async move {
        let _alive = alive;
        {
            let mut connection = pin!(connection.with_upgrades());
            poll_fn(|cx| {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if let Some((sender, until)) = drives.take_left() {
                    let one = Arc::clone(&drives);
                    keeps.put(Idle { sender, one, until });
                }
                Poll::Pending
            })
            .await;
        }
        keeps.forget_closed();
    });
    link.runs_in(task.abort_handle());
    Ok(Lease {
        sender,
        one,
        shelf: Arc::clone(shelf),
        idle: IDLE,
    })
}

impl One {
    /// What was left, if it is ready by now.
    fn take_left(&self) -> Option<(SendRequest<Lent>, Instant)> {
        self.left.lock().take_if(|(sender, _)| sender.is_ready())
    }
}

impl Idle {
    /// Whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Until when it may be kept.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Takes it for a request, if it is fit for one.
    pub(super) fn lease(self, shelf: &Arc<Shelf>, now: Instant) -> Option<Lease> {
        let fit = now < self.until && self.sender.is_ready();
        fit.then(|| Lease {
            sender: self.sender,
            one: self.one,
            shelf: Arc::clone(shelf),
            idle: IDLE,
        })
    }
}

impl Lease {
    pub(super) async fn send(
        mut self,
        mut request: Request<Body>,
        under_way: UnderWay,
    ) -> Result<Answered, Unanswered> {
        *request.version_mut() = Version::HTTP_11;
        let (mut parts, body) = request.into_parts();
        // hyper leaves out the body of GET and HEAD if nothing says that there is one.
        let unknown = !body.is_end_stream() && body.size_hint().exact().is_none();
        if unknown && !parts.headers.contains_key(header::CONTENT_LENGTH) {
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let (body, lender) = lend(body, 0);
        let link = Arc::clone(&self.one.link);
        let request = Request::from_parts(parts, body);
        let sent = self.sender.try_send_request(request);
        let lease = AnyLease::One(self);
        let mut hold = Hold::new(lease, Arc::clone(&link), under_way, lender);
        match sent.await {
            Ok(response) => {
                if let Some(AnyLease::One(lease)) = hold.lease_mut() {
                    lease.idle = allowed(&response);
                }
                Ok(AnswerBody::answered(response, hold))
            }
            Err(mut error) => {
                let back = error.take_message().and_then(|message| {
                    let (mut parts, body) = message.into_parts();
                    // The next one may be of HTTP/2.
                    parts.headers.remove(header::TRANSFER_ENCODING);
                    let lender = hold.take_lender();
                    drop(body);
                    Some(Request::from_parts(parts, reclaim(lender.as_ref())?))
                });
                Err(Unanswered {
                    back,
                    ..Unanswered::new(&link, error.error(), &hold)
                })
            }
        }
    }

    /// The answer was read to its end: the connection is kept for the next one as soon as it is
    /// ready.
    pub(super) fn keep(self) {
        let now = Instant::now();
        let Self { sender, one, .. } = self;
        if !one.link.may_serve_at(now) {
            return;
        }
        let until = one.link.until.min(now + self.idle);
        {
            // Looked at under the lock: the task looks after it has made it ready.
            let mut left = one.left.lock();
            if !sender.is_ready() {
                *left = Some((sender, until));
                return;
            }
        }
        self.shelf.put(Idle { sender, one, until });
    }
}

/// How long the connection may be idle after `response`: a second less than the server says (RFC
/// 2068, section 19.7.1.1, which all still speak).
fn allowed(response: &Response<Incoming>) -> Duration {
    let said = response
        .headers()
        .get(header::HeaderName::from_static("keep-alive"));
    let seconds = said.and_then(|said| {
        let mut parts = said.to_str().ok()?.split(',');
        parts.find_map(|part| part.trim().strip_prefix("timeout=")?.parse::<u64>().ok())
    });
    seconds.map_or(IDLE, |seconds| {
        IDLE.min(Duration::from_secs(seconds.saturating_sub(1)))
    })
}
