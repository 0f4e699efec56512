//! Bodies on their way through: frame by frame, nothing is gathered.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

use super::{exchange::Exchange, forwarded, hop_by_hop, streams::Stream};
use crate::{
    refusal::{Reason, Refusal},
    upstream::http::AnswerBody,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The longest piece of an answer that is handed on at once: who reads so little is not stalled.
const PIECE: usize = 32 * 1024;

/// How much of a body is read, and for how long, of which nobody wants anything.
const LINGER: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// The body of a request, on its way to the upstream. It is polled when the upstream takes it, and only
/// then is a client that expects 100 (Continue) told to go on.
pub(super) struct Up {
    /// `None` once it is too long.
    from: Option<Incoming>,
    exchange: Arc<Exchange>,
    /// How much more of it may come.
    left: Option<u64>,
    /// Whether the client waits to be told to go on.
    expects: bool,
}

impl Up {
    pub(super) fn new(
        from: Incoming,
        exchange: Arc<Exchange>,
        most: Option<u64>,
        expects: bool,
    ) -> Self {
        Self {
            from: Some(from),
            exchange,
            left: most,
            expects,
        }
    }
}

impl Body for Up {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.expects = false;
        let Some(from) = &mut self.from else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(from).poll_frame(cx) else {
            self.exchange.up.waits(true);
            return Poll::Pending;
        };
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => 0,
        };
        self.exchange.up.moved(length, false);
        if let Some(left) = &mut self.left {
            match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => {
                    let refusal = Refusal::new(
                        Reason::BodyTooLarge,
                        "the body of the request was longer than max_body, and did not say so",
                    );
                    self.exchange.refuse(refusal.clone());
                    linger(self.from.take(), false, &self.exchange.stream);
                    return Poll::Ready(Some(Err(refusal.into())));
                }
            }
        }
        Poll::Ready(frame.map(|frame| match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    // Some servers read them as if they were headers, and no proxy says there who asks.
                    hop_by_hop::strip_request(trailers);
                    forwarded::remove_claims(trailers, false);
                }
                Ok(frame)
            }
            Err(error) => {
                let detail = format!("the body of the request broke off: {error}");
                self.exchange.refuse(Refusal::new(Reason::Reset, detail));
                Err(error.into())
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.from.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.from
            .as_ref()
            .map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        linger(self.from.take(), self.expects, &self.exchange.stream);
    }
}

/// Gives up the body of a request that was answered without it, after a while: whoever sends it reads
/// the answer only after some of it. Were it given up at once, the connection or the stream would be
/// reset under an answer that is still on its way. Who `expects` to be told to go on is not told.
///
/// A `stream` of HTTP/2 is read to see its end, and given up once it has sent too much: what comes
/// afterwards is thrown away without us, and it is reset only behind its answer.
pub(super) fn linger(body: Option<Incoming>, expects: bool, stream: &Stream) {
    let Some(mut body) = body.filter(|body| !body.is_end_stream()) else {
        return;
    };
    // Who shuts down the runtime lets go of bodies too.
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let shares = !stream.is_connection();
    runtime.spawn(timeout(LINGER_TIME, async move {
        if expects && !shares {
            std::future::pending::<()>().await;
        }
        let mut left = LINGER;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None if shares => return,
                None => std::future::pending::<()>().await,
            }
        }
    }));
}

/// The body of an answer, on its way to the client.
pub(super) struct Down {
    from: From,
    exchange: Arc<Exchange>,
}

enum From {
    /// Ours, until it is taken.
    Own(Option<Bytes>),
    /// The upstream's, with the rest of a frame.
    Upstream(AnswerBody, Bytes),
}

impl Down {
    /// One of ours.
    pub(super) fn own(body: Bytes, exchange: Arc<Exchange>) -> Self {
        let body = Some(body).filter(|body| !body.is_empty());
        Self::begun(From::Own(body), exchange)
    }

    /// The upstream's.
    pub(super) fn upstream(body: AnswerBody, exchange: Arc<Exchange>) -> Self {
        Self::begun(From::Upstream(body, Bytes::new()), exchange)
    }

    fn begun(from: From, exchange: Arc<Exchange>) -> Self {
        let down = Self { from, exchange };
        down.note_end();
        down
    }

    /// Nobody asks for more after the end.
    fn note_end(&self) {
        if self.is_end_stream() {
            self.exchange.answered();
        }
    }

    fn piece(&mut self) -> Option<Bytes> {
        match &mut self.from {
            From::Own(body) => body.take(),
            From::Upstream(_, rest) if rest.is_empty() => None,
            From::Upstream(_, rest) => Some(rest.split_to(rest.len().min(PIECE))),
        }
    }
}

impl Body for Down {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // It took what it was given: now it waits for the server, and not the other way round.
        self.exchange.down.waits(false);
        if let From::Upstream(from, rest) = &mut self.from {
            // An empty frame is no end.
            while rest.is_empty() {
                match ready!(Pin::new(&mut *from).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => *rest = data,
                        Err(trailers) => {
                            self.exchange.answered();
                            return Poll::Ready(Some(Ok(trailers)));
                        }
                    },
                    Some(Err(error)) => {
                        self.exchange.broke(cut_off(&error));
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => {
                        self.exchange.answered();
                        return Poll::Ready(None);
                    }
                }
            }
        }
        let Some(piece) = self.piece() else {
            self.note_end();
            return Poll::Ready(None);
        };
        self.exchange.down.moved(piece.len(), true);
        self.note_end();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Own(body) => body.is_none(),
            From::Upstream(from, rest) => rest.is_empty() && from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Own(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            From::Upstream(from, rest) => {
                let mut hint = from.size_hint();
                let more = rest.len() as u64;
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(more));
                }
                hint.set_lower(hint.lower().saturating_add(more));
                hint
            }
        }
    }
}

/// Why an answer broke off: what a reload found, or what the upstream did.
fn cut_off(error: &BoxError) -> Refusal {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) => refusal.clone(),
        None => Refusal::new(
            Reason::UpstreamCut,
            format!("the answer broke off: {error}"),
        ),
    }
}
