//! From the tunnel to the application.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    super::{
        decode::Event,
        state::{Received, Role},
        wire::NoEvent,
    },
    Exchange, Finish,
};
use crate::relay::Transport;

impl<T: Transport, A: Transport> Exchange<'_, T, A> {
    /// From the tunnel to the application. Answers whether the tunnel is being read.
    pub(super) fn poll_inward(&mut self, cx: &mut Context<'_>) -> Result<bool, Finish> {
        loop {
            if self.poll_deliver(cx).is_pending() {
                return Ok(false);
            }
            // Behind the last frame of this lease there may be the first of the next.
            if self.lease.is_over() {
                return Ok(true);
            }
            match self.wire.next(cx) {
                Ok(event) => self.on_event(&event)?,
                Err(NoEvent::Wait) => return Ok(true),
                Err(none) => {
                    if let Some(refusal) = none.refusal() {
                        self.refusal.get_or_insert(refusal);
                    }
                    return Err(Finish::Broken);
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event) -> Result<(), Finish> {
        let received = match self.lease.receive(event) {
            Ok(received) => received,
            Err(violation) => {
                self.refusal.get_or_insert(violation.into());
                return Err(Finish::Broken);
            }
        };
        if self.lease.answered() {
            self.kept = None;
        }
        match received {
            Received::Deliver(count) | Received::Discard(count) => self.deliver = count,
            Received::Eof => self.shutdown_owed = self.app.0.is_some(),
            Received::Reset(code) => self.fail(code.refusal()),
            Received::Opened | Received::Closing => {}
            Received::Overrun(_) if self.role == Role::Client => return Err(Finish::Broken),
            Received::Overrun(count) => {
                // The client may have ended this lease already, in bytes that are still on their
                // way, and have sent its next OPEN behind them: it must be told first.
                self.close();
                self.deliver = count;
            }
            Received::NotAccepted => return Err(Finish::NotAccepted),
        }
        Ok(())
    }

    /// Writes what is due to the application, then its end of the stream.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closes_now = self.closes_now();
        let moved = match self.role {
            Role::Client => &mut self.moved.down,
            Role::Server => &mut self.moved.up,
        };
        while let Some(app) = &mut self.app.0 {
            let early = !self.to_app.rest().is_empty();
            let next = if early {
                self.to_app.rest()
            } else {
                self.wire
                    .input
                    .data()
                    .get(..self.deliver)
                    .unwrap_or_default()
            };
            let step = if !next.is_empty() {
                ready!(Pin::new(app).poll_write(cx, next)).map(|count| {
                    *moved += count as u64;
                    if early {
                        self.to_app.consume(count);
                    } else {
                        self.wire.input.consume(count);
                        self.deliver -= count;
                    }
                    self.app_unflushed = true;
                    count > 0
                })
            } else if self.app_unflushed {
                match Pin::new(app).poll_flush(cx) {
                    // Reading the tunnel goes on: what is kept back is bounded.
                    Poll::Pending if !self.shutdown_owed => return Poll::Ready(()),
                    flushed => ready!(flushed).map(|()| {
                        self.app_unflushed = false;
                        true
                    }),
                }
            } else if self.shutdown_owed && closes_now {
                self.shutdown_owed = false;
                Ok(true)
            } else if self.shutdown_owed {
                ready!(Pin::new(app).poll_shutdown(cx)).map(|()| {
                    self.shutdown_owed = false;
                    true
                })
            } else {
                return Poll::Ready(());
            };
            match step {
                Ok(true) => {}
                Ok(false) => return self.gone("it takes no more bytes"),
                Err(error) => return self.gone(format_args!("writing to it: {error}")),
            }
        }
        self.discard();
        Poll::Ready(())
    }

    /// Whether the application's socket is closed next, with nothing left in it: that says all that
    /// a shutdown before it would.
    fn closes_now(&self) -> bool {
        self.app_ended && self.lease.is_over() && !self.owed.eof && self.wire.is_flushed()
    }

    fn gone(&mut self, what: impl std::fmt::Display) -> Poll<()> {
        self.app_reset(what);
        self.discard();
        Poll::Ready(())
    }

    fn discard(&mut self) {
        self.wire.input.consume(self.deliver);
        self.deliver = 0;
    }
}
