//! One end of a tunnel's connection, with the bytes that are between it and the frames.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    decode::{Decoder, Event},
    frame::Violation,
};
use crate::{
    refusal::{Reason, Refusal},
    relay::{
        Transport,
        buffer::{Buffer, Then},
    },
    tls::alert::refusal_from_io,
};

/// Why the next frame cannot be had.
#[derive(Debug)]
pub(super) enum NoEvent {
    /// It has not arrived; the task is woken when more does.
    Wait,
    /// The peer closed the connection in order.
    End,
    /// The connection broke.
    Failed(io::Error),
    /// The peer broke the format.
    Violation(Violation),
}

impl NoEvent {
    /// The refusal of a lease that was running, and `None` if it is only a matter of waiting.
    pub(super) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Wait => None,
            Self::End => Some(lost("the peer closed the tunnel without CLOSE")),
            // A peer judges our certificate after our handshake has ended; its alert comes here.
            Self::Failed(error) => Some(
                refusal_from_io(&error)
                    .unwrap_or_else(|| lost(format!("reading from the tunnel: {error}"))),
            ),
            Self::Violation(violation) => Some(violation.into()),
        }
    }
}

/// The tunnel broke under a lease.
pub(super) fn lost(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::TunnelLost, detail)
}

/// A tunnel's connection.
#[derive(Debug)]
pub(super) struct Wire<T: Transport> {
    pub(super) io: T,
    pub(super) input: Buffer,
    pub(super) output: Buffer,
    decoder: Decoder,
    /// A failure that came behind bytes which are still to be decoded.
    failed: Option<io::Error>,
    /// Bytes of `output` before those of the application, and those of the application.
    lead: usize,
    payload: usize,
    unflushed: bool,
    /// A write failed. What the peer sent before may still explain it.
    pub(super) broken: Option<io::Error>,
    /// A lease is running, or the peer broke the rules: the close must be a reset.
    pub(super) leased: bool,
}

impl<T: Transport> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        Self {
            io,
            input: Buffer::default(),
            output: Buffer::default(),
            decoder: Decoder::default(),
            failed: None,
            lead: 0,
            payload: 0,
            unflushed: false,
            broken: None,
            leased: false,
        }
    }

    /// The next event. After [`Event::Data`] the caller takes that many bytes off `input`
    /// before it asks again.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> Result<Event, NoEvent> {
        loop {
            let (used, event) = self
                .decoder
                .next(self.input.data())
                .map_err(NoEvent::Violation)?;
            self.input.consume(used);
            if let Some(event) = event {
                return Ok(event);
            }
            if let Some(error) = self.failed.take() {
                return Err(NoEvent::Failed(error));
            }
            let mut got = 0;
            match self.input.poll_fill(&mut self.io, cx, usize::MAX, &mut got) {
                Ok(Then::Wait) if got == 0 => {
                    self.input.release();
                    return Err(NoEvent::Wait);
                }
                Ok(Then::End) if got == 0 => return Err(NoEvent::End),
                Ok(_) => {}
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Whether nothing of the peer is waiting to be looked at.
    pub(super) fn at_boundary(&self) -> bool {
        self.decoder.at_boundary() && self.input.is_empty() && self.failed.is_none()
    }

    /// Whether a read finds nothing: neither bytes nor an end.
    pub(super) fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.next(cx), Err(NoEvent::Wait)) && self.at_boundary()
    }

    /// Marks the last `payload` bytes of the output as the application's.
    pub(super) fn mark(&mut self, payload: usize) {
        self.lead = self.output.len() - payload;
        self.payload = payload;
    }

    /// Writes what is in `output`. Adds the application's bytes among what was written to
    /// `moved`. Ready when all of it is written, or the connection is broken.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, moved: &mut u64) -> Poll<()> {
        while !self.output.is_empty() && self.broken.is_none() {
            match Pin::new(&mut self.io).poll_write(cx, self.output.data()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.output.consume(count);
                    self.unflushed = true;
                    let lead = self.lead.min(count);
                    let payload = self.payload.min(count - lead);
                    self.lead -= lead;
                    self.payload -= payload;
                    *moved += payload as u64;
                }
                Poll::Ready(Err(error)) => self.broken = Some(error),
            }
        }
        Poll::Ready(())
    }

    /// Flushes what a TLS stream kept back. Ready when nothing is, or the connection is broken.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unflushed && self.broken.is_none() {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(error)) => self.broken = Some(error),
            }
        }
        Poll::Ready(())
    }

    /// Whether all that was to be sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.unflushed && self.broken.is_none()
    }
}

impl<T: Transport> Drop for Wire<T> {
    fn drop(&mut self) {
        if self.leased {
            self.io.abort();
        }
    }
}
