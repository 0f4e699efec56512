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

/// What is less than this is cheaper to copy.
pub(super) const SMALL: usize = 16 << 10;

/// So many small pieces in a row are no bulk any more.
const TRUST: u32 = 4;

/// How a direction splices, if it does.
#[derive(Debug, Default)]
pub(super) struct Splice {
    pipe: Option<Pipe>,
    /// How many small pieces may follow; 0 while bytes are copied.
    trust: u32,
    /// There was no pipe for it, and there will be none.
    refused: bool,
}

/// What came of looking for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// There are bytes in the pipe.
    Bytes,
    /// A read has to say what there is.
    ///
    /// splice(2) tells the end of a stream like urgent data, before which it stops, and
    /// nothing at all like bytes that are queued where it does not look (sockmap).
    Unsure,
}

impl Splice {
    /// Bytes come in bulk.
    pub(super) fn begin(&mut self) {
        if !self.refused {
            self.trust = self.trust.max(TRUST);
        }
    }

    /// Whether bytes go through a pipe.
    pub(super) fn is_on(&self) -> bool {
        self.trust > 0
    }

    /// Takes what `from` has, once everything before it was passed on.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<Filled> {
        if self.pipe.is_none() {
            match Pipe::take() {
                Ok(pipe) => self.pipe = Some(pipe),
                Err(NoPipe::AllInUse) => return Ok(Filled::Unsure),
                Err(NoPipe::Refused) => {
                    self.give_up();
                    return Ok(Filled::Unsure);
                }
            }
        }
        let Some(pipe) = &mut self.pipe else {
            return Ok(Filled::Unsure);
        };
        match pipe.fill(from) {
            Ok(0) => Ok(Filled::Unsure),
            Ok(count) => {
                if count < SMALL {
                    self.trust -= 1;
                } else {
                    self.trust = self.trust.max(TRUST);
                }
                Ok(Filled::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::Unsure),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.give_up();
                Ok(Filled::Unsure)
            }
            Err(error) => Err(error),
        }
    }

    /// Passes on what is in the pipe, all of it unless the answer is [`Poll::Pending`]. `moved` grows
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
            // Only what would block is the socket's: there are bytes in the pipe.
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => *moved += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
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

    fn give_up(&mut self) {
        self.refused = true;
        self.trust = 0;
        self.release();
    }
}
