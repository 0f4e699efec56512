//! One direction of a relay.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    Transport,
    buffer::{Buffer, Size, Then},
    splice::{Filled, Splice},
};

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Bytes from its source.
    Reading,
    /// Room at its destination; its source is not read meanwhile.
    Stalled,
    /// Nothing: the end was passed on.
    Done,
}

/// Which end of a direction failed.
#[derive(Debug)]
pub(crate) enum Failed {
    Source(io::Error),
    Sink(io::Error),
}

/// Moves bytes from a source to a sink, and then the end of the stream.
#[derive(Debug, Default)]
pub(crate) struct Pump {
    buffer: Buffer,
    /// In place of the buffer while plain bytes flow in bulk; one of the two is empty.
    splice: Splice,
    /// Bytes that were read before the relay began; written first.
    start: Vec<u8>,
    started: usize,
    unflushed: bool,
    ended: bool,
    done: bool,
    /// The source was reset: an end of its stream is none.
    cut_off: bool,
    /// How the source failed, behind bytes that it had sent before.
    failed: Option<io::Error>,
}

impl Failed {
    /// The end of a TLS connection that no close_notify announced.
    pub(crate) fn is_truncation(&self) -> bool {
        matches!(self, Self::Source(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    }
}

impl Pump {
    pub(crate) fn new(start: Vec<u8>) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// One that splices from the first byte, and small pieces too, where it can at all.
    #[cfg(test)]
    pub(crate) fn splicing(start: Vec<u8>) -> Self {
        Self {
            splice: Splice::always(),
            ..Self::new(start)
        }
    }

    /// Whether everything of this direction was delivered, and its end too.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Passes on what its source sent before it was reset, and no end: the kernel tells of a reset
    /// once, here to who wrote, and then of an end.
    pub(crate) fn expect_no_end(&mut self) {
        self.cut_off = true;
    }

    /// Moves what can be moved now. `moved` grows with each write.
    pub(crate) fn poll<R: Transport, W: Transport>(
        &mut self,
        from: &mut R,
        to: &mut W,
        cx: &mut Context<'_>,
        moved: &mut u64,
    ) -> Result<Waits, Failed> {
        if self.done {
            return Ok(Waits::Done);
        }
        loop {
            while let Some(pending) = self.pending() {
                match Pin::new(&mut *to).poll_write(cx, pending) {
                    Poll::Pending => {
                        self.splice.release();
                        return Ok(Waits::Stalled);
                    }
                    Poll::Ready(Ok(0)) => {
                        return Err(Failed::Sink(io::ErrorKind::WriteZero.into()));
                    }
                    Poll::Ready(Ok(count)) => {
                        self.passed(count);
                        self.unflushed = true;
                        *moved += count as u64;
                    }
                    Poll::Ready(Err(error)) => return Err(Failed::Sink(error)),
                }
            }
            if let Some(plain) = to.plain() {
                match self.splice.poll_drain(plain, cx, moved) {
                    Poll::Pending => return Ok(Waits::Stalled),
                    Poll::Ready(drained) => drained.map_err(Failed::Sink)?,
                }
            }
            if self.unflushed {
                match Pin::new(&mut *to).poll_flush(cx) {
                    // Nothing is read meanwhile: of a stalled peer TLS would keep as much as its own
                    // limit allows, for each of a thousand connections.
                    Poll::Pending => {
                        self.buffer.release_unless_largest();
                        return Ok(Waits::Stalled);
                    }
                    Poll::Ready(flushed) => {
                        flushed.map_err(Failed::Sink)?;
                        self.unflushed = false;
                    }
                }
            }
            if self.ended {
                return match Pin::new(&mut *to).poll_shutdown(cx) {
                    Poll::Pending => Ok(Waits::Stalled),
                    Poll::Ready(Err(error)) => Err(Failed::Sink(error)),
                    Poll::Ready(Ok(())) => {
                        self.done = true;
                        self.release();
                        Ok(Waits::Done)
                    }
                };
            }
            if let Some(error) = self.failed.take() {
                return Err(Failed::Source(error));
            }
            if self.splice.is_on() {
                match self.poll_splice(from, cx) {
                    Poll::Pending => {
                        self.release();
                        return Ok(Waits::Reading);
                    }
                    Poll::Ready(Ok(Filled::Bytes)) => {
                        self.buffer.start_small();
                        continue;
                    }
                    Poll::Ready(Ok(Filled::Unsure)) => {}
                    Poll::Ready(Err(error)) => {
                        self.failed = Some(error);
                        continue;
                    }
                }
            }
            let mut got = 0;
            match self.buffer.poll_fill(from, cx, usize::MAX, &mut got) {
                Ok(Then::Wait) if got == 0 => {
                    self.release();
                    return Ok(Waits::Reading);
                }
                Ok(Then::Wait) => {}
                Ok(Then::Full) => {
                    let is_bulk = self.buffer.len() >= Size::Kib64.bytes();
                    if is_bulk && from.plain().is_some() && to.plain().is_some() {
                        self.splice.begin();
                    }
                }
                Ok(Then::End) if self.cut_off => {
                    self.failed = Some(io::ErrorKind::ConnectionReset.into());
                }
                Ok(Then::End) => self.ended = true,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn poll_splice<R: Transport>(
        &mut self,
        from: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Filled>> {
        ready!(from.poll_readable(cx))?;
        Poll::Ready(match from.plain() {
            Some(plain) => self.splice.fill(plain),
            None => Ok(Filled::Unsure),
        })
    }

    /// Gives back what nothing is in.
    fn release(&mut self) {
        self.buffer.release();
        self.splice.release();
    }

    fn pending(&self) -> Option<&[u8]> {
        let start = self.start.get(self.started..).unwrap_or_default();
        let next = if start.is_empty() {
            self.buffer.data()
        } else {
            start
        };
        (!next.is_empty()).then_some(next)
    }

    fn passed(&mut self, count: usize) {
        if self.started < self.start.len() {
            self.started += count;
            if self.started == self.start.len() {
                self.start = Vec::new();
                self.started = 0;
            }
        } else {
            self.buffer.consume(count);
        }
    }
}

#[cfg(test)]
mod tests;
