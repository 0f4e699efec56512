//! The body of an answer, at whose end the connection is free for the next request.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
};

use super::{Answered, Lease, Link, lent::Lender};
use crate::upstream::UnderWay;

/// The body of an answer, as it comes. Dropped before its end, the rest of it and of the request
/// is given up: in HTTP/1.1 with the connection, in HTTP/2 with the stream.
#[derive(Debug)]
pub struct AnswerBody {
    inner: Incoming,
    hold: Option<Hold>,
}

/// What a request has until the end of its answer.
pub(super) struct Hold {
    lease: Option<Lease>,
    link: Arc<Link>,
    lender: Option<Arc<Lender>>,
    under_way: Option<UnderWay>,
}

impl Hold {
    pub(super) fn new(
        lease: Lease,
        link: Arc<Link>,
        under_way: UnderWay,
        lender: Option<Arc<Lender>>,
    ) -> Self {
        Self {
            lease: Some(lease),
            link,
            lender,
            under_way: Some(under_way),
        }
    }

    pub(super) fn lease_mut(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    /// The lender of the request's body, which is not given up then.
    pub(super) fn take_lender(&mut self) -> Option<Arc<Lender>> {
        self.lender.take()
    }

    /// Whether the request's body ended early, by whoever sends it.
    pub(super) fn request_broke(&self) -> bool {
        self.lender
            .as_ref()
            .is_some_and(|lender| lender.is_broken())
    }

    /// The answer has ended. What the server has not read of the request by then it does not want.
    fn end(mut self) {
        if !self.lender.as_ref().is_none_or(|lender| lender.is_whole()) {
            return;
        }
        if let Some(Lease::One(lease)) = self.lease.take() {
            lease.keep();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        if let Some(lender) = &self.lender {
            lender.give_up();
        }
        if let Lease::One(_) = lease {
            self.link.cut();
        }
    }
}

impl AnswerBody {
    /// `response`, which came over what `hold` has.
    pub(super) fn answered(response: Response<Incoming>, mut hold: Hold) -> Answered {
        let link = Arc::clone(&hold.link);
        if let Some(lender) = &hold.lender {
            lender.answered();
        }
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let under_way = switched.then(|| hold.under_way.take()).flatten();
        let response = response.map(|inner| {
            let mut body = Self {
                inner,
                hold: Some(hold),
            };
            body.look_for_end();
            body
        });
        Answered {
            response,
            at: link.at,
            server: link.server.clone(),
            facts: link.facts.clone(),
            under_way,
        }
    }

    /// Nobody asks for more of a body that says that it has ended.
    fn look_for_end(&mut self) {
        if self.inner.is_end_stream()
            && let Some(hold) = self.hold.take()
        {
            hold.end();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.look_for_end();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let hold = this.hold.take();
                let refused = hold.and_then(|hold| hold.link.refused());
                Some(Err(refused.map_or_else(|| error.into(), Into::into)))
            }
            None => {
                if let Some(hold) = this.hold.take() {
                    hold.end();
                }
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("at", &self.link.at).finish()
    }
}
