//! The body of a request while a connection sends it.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use parking_lot::Mutex;

use super::Body;

/// Bytes of a body that are kept until its answer begins, so that it can be sent again if the server
/// says that it did not look at it: all of an ordinary call, and nothing of an upload.
pub(super) const KEPT: usize = 64 * 1024;

/// A body in the hands of a connection, which may end before the server has seen any of it.
pub(super) enum Lent {
    /// There is nothing in it.
    Empty,
    Full(Arc<Lender>),
}

/// The other end of [`Lent`].
pub(super) struct Lender(Mutex<State>);

struct State {
    body: Option<Body>,
    /// All that was read of it; `None` if that is too much, or not wanted any more.
    read: Option<Vec<Bytes>>,
    /// How much of that there may still be.
    room: usize,
    end: Option<End>,
    /// Of the connection that waits for more of it.
    waiting: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// Whoever it came from ended it early.
    Broken,
    /// The rest is not wanted.
    GivenUp,
}

/// What was lent, again from its beginning.
struct Again {
    read: VecDeque<Bytes>,
    rest: Option<Body>,
}

/// Lends `body`, of which up to `kept` bytes are kept; there is no lender of one that is empty.
pub(super) fn lend(body: Body, kept: usize) -> (Lent, Option<Arc<Lender>>) {
    if body.is_end_stream() {
        return (Lent::Empty, None);
    }
    let lender = Arc::new(Lender(Mutex::new(State {
        body: Some(body),
        read: Some(Vec::new()),
        room: kept,
        end: None,
        waiting: None,
    })));
    (Lent::Full(Arc::clone(&lender)), Some(lender))
}

/// Takes back what was lent, if nothing is missing from it.
pub(super) fn reclaim(lender: Option<&Arc<Lender>>) -> Option<Body> {
    let Some(lender) = lender else {
        return Some(Empty::new().map_err(|never| match never {}).boxed_unsync());
    };
    let mut state = lender.0.lock();
    let read = state.read.take()?;
    let rest = state.body.take();
    if read.is_empty() {
        return rest;
    }
    let read = read.into();
    Some(Again { read, rest }.boxed_unsync())
}

impl Lender {
    /// Whether all of it was read. Its end may come after that, if it says how long it is: a client of
    /// HTTP/2 may send both apart, and who sends it by HTTP/1.1 asks for no more than its length.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.0.lock();
        match (state.end, &state.body) {
            (None, Some(body)) => body.size_hint().exact() == Some(0),
            (end, _) => end == Some(End::Whole),
        }
    }

    /// Whether its end was read: trailers may come before.
    fn has_ended(&self) -> bool {
        self.0.lock().end == Some(End::Whole)
    }

    /// Whether it ended early, and not by its reader.
    pub(super) fn is_broken(&self) -> bool {
        self.0.lock().end == Some(End::Broken)
    }

    /// The server has seen it.
    pub(super) fn answered(&self) {
        self.0.lock().read = None;
    }

    /// Ends it for its reader with an error.
    pub(super) fn give_up(&self) {
        let mut state = self.0.lock();
        state.end.get_or_insert(End::GivenUp);
        let (body, waiting) = (state.body.take(), state.waiting.take());
        drop(state);
        drop(body);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl State {
    /// Something was read: data, its end, or (`None`) what is not kept.
    fn keep(&mut self, read: Option<Option<&Bytes>>) {
        match (read, &mut self.read) {
            (Some(Some(data)), Some(kept)) if data.len() <= self.room => {
                self.room -= data.len();
                kept.push(data.clone());
            }
            (Some(None), _) => {}
            _ => self.read = None,
        }
    }
}

impl hyper::body::Body for Again {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(data) = this.read.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self::Full(lender) = self.get_mut() else {
            return Poll::Ready(None);
        };
        let mut state = lender.0.lock();
        let state = &mut *state;
        let Some(body) = &mut state.body else {
            return Poll::Ready(match state.end {
                Some(End::Whole) => None,
                _ => Some(Err("the rest of the request is not wanted any more".into())),
            });
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_pending() {
            let known = state.waiting.as_ref();
            if !known.is_some_and(|known| known.will_wake(cx.waker())) {
                state.waiting = Some(cx.waker().clone());
            }
        }
        let frame = ready!(polled);
        state.end = match &frame {
            None => Some(End::Whole),
            Some(Ok(_)) if body.is_end_stream() => Some(End::Whole),
            Some(Ok(_)) => None,
            Some(Err(_)) => Some(End::Broken),
        };
        let data = match &frame {
            None => Some(None),
            Some(Ok(frame)) => frame.data_ref().map(Some),
            Some(Err(_)) => None,
        };
        state.keep(data);
        if state.end.is_some() {
            state.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(lender) => lender.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(lender) => match &lender.0.lock().body {
                Some(body) => body.size_hint(),
                None => SizeHint::with_exact(0),
            },
        }
    }
}
