//! From the application to the tunnel.

use std::task::Context;

use super::{
    super::{
        MAX_DATA,
        frame::{self, HEADER, Kind},
        state::Role,
    },
    Exchange,
};
use crate::relay::{Transport, buffer::Then};

/// After so many bytes OPENED leaves by itself, so that a client that sends without end never has to
/// stop at [`REPLAY_LIMIT`] for it.
///
/// [`REPLAY_LIMIT`]: super::super::REPLAY_LIMIT
const EAGER: u64 = 16 << 10;

/// Kept free behind DATA, so that EOF, RESET and CLOSE leave in the same write.
const TAIL: usize = 32;

impl<T: Transport, A: Transport> Exchange<'_, T, A> {
    /// From the application to the tunnel. Answers whether the application is being read, or is
    /// gone.
    pub(super) fn poll_outward(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let moved = match self.role {
                Role::Client => &mut self.moved.up,
                Role::Server => &mut self.moved.down,
            };
            if self.wire.poll_write(cx, moved).is_pending() {
                return self.app.0.is_none();
            }
            // What TLS keeps back leaves before more is taken: of a stalled tunnel it would fill up
            // to its own limit otherwise, for each of a thousand connections.
            if self.wire.poll_flush(cx).is_pending() {
                self.wire.output.release_unless_largest();
                return self.app.0.is_none();
            }
            if self.wire.broken.is_some() {
                return self.app.0.is_none();
            }
            let reading = self.compose(cx);
            if self.wire.output.is_empty() {
                self.wire.output.release();
                return reading || self.app.0.is_none();
            }
        }
    }

    /// Puts the next frames into the empty output: what is due before the application's bytes,
    /// those, and what is due after them. Answers whether the application is being read.
    fn compose(&mut self, cx: &mut Context<'_>) -> bool {
        let number = self.lease.number();
        let output = &mut self.wire.output;
        if let Some(open) = self.owed.open.take() {
            output.append(&open);
        }
        let opened = std::mem::take(&mut self.owed.opened);
        if opened {
            output.append(&frame::numbered(Kind::Opened, number));
        }
        let lead = output.len();
        let reading = self.compose_data(cx);
        let output = &mut self.wire.output;
        if std::mem::take(&mut self.owed.eof) {
            output.append(&frame::numbered(Kind::Eof, number));
        }
        if let Some(code) = self.owed.reset.take() {
            output.append(&frame::reset(number, code));
        }
        if std::mem::take(&mut self.owed.close) {
            output.append(&frame::numbered(Kind::Close, number));
        }
        let alone = output.len() == lead;
        if opened && reading && alone && !self.is_opened_due() {
            self.wire.output.truncate(0);
            self.owed.opened = true;
        }
        reading
    }

    /// Whether OPENED waits no longer for something to leave with.
    fn is_opened_due(&self) -> bool {
        self.opened_late || self.moved.up > EAGER
    }

    fn compose_data(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(app) = &mut self.app.0 else {
            return false;
        };
        let output = &mut self.wire.output;
        let ahead = self.to_peer.rest();
        if ahead.is_empty() && self.app_ended {
            self.owed.eof |= self.lease.send_eof();
            return false;
        }
        let allowance = self.lease.allowance();
        if allowance == 0 {
            return false;
        }
        let mark = output.len();
        output.append(&[0; HEADER]);
        let room = output.room().saturating_sub(TAIL);
        let limit = allowance.min(room).min(MAX_DATA);
        let ahead = ahead.get(..ahead.len().min(limit)).unwrap_or_default();
        output.append(ahead);
        let taken = ahead.len();
        self.to_peer.consume(taken);
        let mut got = 0;
        let then = if self.app_ended || !self.to_peer.rest().is_empty() {
            Ok(Then::Full)
        } else {
            output.poll_fill(app, cx, limit - taken, &mut got)
        };
        let payload = taken + got;
        if payload == 0 {
            output.truncate(mark);
        } else {
            output.patch(mark, &frame::header(Kind::Data, payload));
            self.lease.send_data(payload);
            if let (Some(kept), Some(sent)) = (
                &mut self.kept,
                output.data().get(mark + HEADER..mark + HEADER + payload),
            ) {
                kept.extend_from_slice(sent);
            }
            self.wire.mark(payload);
        }
        match then {
            Ok(Then::Wait) => return true,
            Ok(Then::Full) => self.wire.output.grow(),
            Ok(Then::End) => {
                self.app_ended = true;
                self.owed.eof |= self.lease.send_eof();
            }
            Err(error) => self.app_reset(format_args!("reading from it: {error}")),
        }
        false
    }
}
