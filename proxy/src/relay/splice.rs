//! Bulk from one plain socket to another, by splice(2).
//!
//! It costs more system calls than a copy and no copying, so a direction copies until a read has
//! filled a large buffer, and goes back to that when what comes is small again.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::{io::Interest, net::TcpStream};

use super::pipe::{NoPipe, Pipe};

/// What is less than this is no bulk. Most of the gain is in what one call moves: at 64 KiB a copy
/// costs as much. It is also what bounds the memory beneath the bytes: the sink's send buffer counts
/// bytes, of which a pipe of 256 pieces then has 256 at least in each, and a piece of a network's
/// packet holds a page.
const SMALL: usize = 64 << 10;

/// So many small pieces in a row and bulk is over.
const TRUST: u32 = 4;

/// How a direction splices, if it does.
#[derive(Debug, Default)]
pub(super) struct Splice {
    pipe: Option<Pipe>,
    /// How many small pieces may follow one another; 0 while bytes are copied.
    trust: u32,
    /// There was no pipe for it, and there will be none.
    refused: bool,
}

/// What came of looking for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are bytes in the pipe.
    Bytes,
    /// A read has to find out what there is. To splice(2) urgent data looks as if nothing more had
    /// come, whatever is behind it, and so do bytes that are queued elsewhere than in the socket
    /// (sockmap).
    Unsure,
}

impl Splice {
    /// One that splices from the first byte, and small pieces too.
    #[cfg(test)]
    pub(super) fn always() -> Self {
        Self {
            trust: u32::MAX,
            ..Self::default()
        }
    }

    #[cfg(test)]
    pub(super) fn has_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    /// Bytes come in bulk.
    pub(super) fn begin(&mut self) {
        if !self.refused {
            self.trust = self.trust.max(TRUST);
        }
    }

    /// Whether bytes are to go through a pipe.
    pub(super) fn is_on(&self) -> bool {
        self.trust > 0
    }

    /// Takes what `from` has, once everything before it was passed on.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<Filled> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => match Pipe::take() {
                Ok(pipe) => none.insert(pipe),
                Err(NoPipe::AllInUse) => return Ok(Filled::Unsure),
                Err(NoPipe::Refused) => return Ok(self.give_up()),
            },
        };
        match pipe.fill(from) {
            // The end, which a read finds, too.
            Ok(0) => Ok(Filled::Unsure),
            Ok(count) if count < SMALL => {
                self.trust = self.trust.saturating_sub(1);
                Ok(Filled::Bytes)
            }
            Ok(_) => {
                self.trust = self.trust.max(TRUST);
                Ok(Filled::Bytes)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Filled::Unsure),
                // A socket of a kind that cannot be spliced from.
                io::ErrorKind::InvalidInput => Ok(self.give_up()),
                _ => Err(error),
            },
        }
    }

    /// Passes on what is in the pipe: all of it, unless the answer is [`Poll::Pending`]. `moved` grows
    /// with each piece.
    pub(super) fn poll_drain(
        &mut self,
        to: &TcpStream,
        cx: &mut Context<'_>,
        moved: &mut u64,
    ) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            ready!(to.poll_write_ready(cx))?;
            // There are bytes in the pipe, so that it is the socket that would block, which is
            // what this notes.
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => *moved += count as u64,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
        if !self.is_on() {
            self.release();
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the pipe back if nothing is in it.
    pub(super) fn release(&mut self) {
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.is_empty()) {
            pipe.give_back();
        }
    }

    fn give_up(&mut self) -> Filled {
        self.refused = true;
        self.trust = 0;
        self.release();
        Filled::Unsure
    }
}
