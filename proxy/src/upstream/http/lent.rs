//! The body of a request while a connection sends it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use parking_lot::Mutex;

use super::Body;

/// A body in the hands of a connection, which may end before it has read any of it.
pub(super) enum Lent {
    /// There is nothing in it.
    Empty,
    Full(Arc<Lender>),
}

/// The other end of [`Lent`].
pub(super) struct Lender(Mutex<State>);

struct State {
    body: Option<Body>,
    touched: bool,
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

/// Lends `body`; there is no lender of one that is empty.
pub(super) fn lend(body: Body) -> (Lent, Option<Arc<Lender>>) {
    if body.is_end_stream() {
        return (Lent::Empty, None);
    }
    let lender = Arc::new(Lender(Mutex::new(State {
        body: Some(body),
        touched: false,
        end: None,
        waiting: None,
    })));
    (Lent::Full(Arc::clone(&lender)), Some(lender))
}

/// Takes back what was lent to a connection that has not read any of it.
pub(super) fn reclaim(lender: Option<&Arc<Lender>>) -> Option<Body> {
    match lender {
        None => Some(Empty::new().map_err(|never| match never {}).boxed_unsync()),
        Some(lender) => {
            let mut state = lender.0.lock();
            let untouched = !state.touched;
            state.body.take_if(|_| untouched)
        }
    }
}

impl Lender {
    /// Whether all of it was read.
    pub(super) fn is_whole(&self) -> bool {
        self.0.lock().end == Some(End::Whole)
    }

    /// Whether it ended early, and not by its reader.
    pub(super) fn is_broken(&self) -> bool {
        self.0.lock().end == Some(End::Broken)
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
        state.touched = true;
        match &frame {
            None => state.end = Some(End::Whole),
            Some(Ok(_)) if body.is_end_stream() => state.end = Some(End::Whole),
            Some(Ok(_)) => {}
            Some(Err(_)) => state.end = Some(End::Broken),
        }
        if state.end.is_some() {
            state.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(lender) => lender.is_whole(),
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
