//! Pipes of the kernel, through which bytes go from one socket to another without being copied.
//!
//! A direction has one only while bytes flow through it in bulk, and gives it back empty. Their
//! number in the process is bounded: what is in a pipe is memory of the kernel that counts for
//! neither socket.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::net::TcpStream;

/// What a pipe is asked to hold, the most that the kernel gives to everybody (fs.pipe-max-size).
/// It counts in pages, of which one may hold fewer bytes or, of bytes that were sent in large
/// pieces, more; one splice(2) takes no more than this in any case.
pub(super) const CAPACITY: usize = 1 << 20;

/// What it must hold to be of use. A user who has more in pipes than fs.pipe-user-pages-soft gets
/// pipes of two pages.
const LEAST: usize = 64 << 10;

/// How many are in use at once in the process, 32 MiB: half of what a user may have without
/// privilege, since that is for all of root's pipes on the host.
const IN_USE: usize = 32;

/// How many are kept when nobody uses them. They hold no pages.
const KEPT: usize = 8;

/// Descriptors of all of them.
pub(crate) const PIPE_FILES: u64 = 2 * (IN_USE + KEPT) as u64;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Of the process and not of each thread: what is kept counts for the user's share. The lock is
/// taken once for each time that bytes begin to flow.
static FREE: Mutex<Vec<Ends>> = Mutex::new(Vec::new());

/// Why there is no pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPipe {
    /// As many as there may be are in use.
    AllInUse,
    /// The kernel gives none that is of use.
    Refused,
}

/// A pipe and the bytes in it. Dropped, it is closed; empty, it is better given back.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    filled: usize,
    _place: Place,
}

#[derive(Debug)]
struct Ends {
    reading: OwnedFd,
    writing: OwnedFd,
    capacity: usize,
}

/// One of those that may be in use.
#[derive(Debug)]
struct Place;

impl Pipe {
    /// One that was kept, or a new one.
    pub(super) fn take() -> Result<Self, NoPipe> {
        let place = Place::take()?;
        let kept = FREE.lock().pop();
        Ok(Self {
            ends: kept.map_or_else(Ends::open, Ok)?,
            filled: 0,
            _place: place,
        })
    }

    /// Keeps it for the next one, unless there are bytes in it.
    pub(super) fn give_back(self) {
        if self.filled > 0 {
            return;
        }
        let mut free = FREE.lock();
        if free.len() < KEPT {
            free.push(self.ends);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes what a socket has for now. The pipe must be empty: with bytes in it, it might be the
    /// pipe that has no room when the answer is [`io::ErrorKind::WouldBlock`].
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "a pipe with bytes in it may be full");
        let (to, most) = (&self.ends.writing, self.ends.capacity);
        let count = splice(from, None, to, None, most, SpliceFlags::NONBLOCK)?;
        self.filled = count;
        Ok(count)
    }

    /// Gives a socket what it takes for now. It is never offered more than there is: the kernel
    /// would take that for a promise of more, and hold back the last segment for a while. To one
    /// that takes no more it raises SIGPIPE, which Rust's runtime ignores.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let (from, all) = (&self.ends.reading, self.filled);
        let count = splice(from, None, to, None, all, SpliceFlags::NONBLOCK)?;
        self.filled = all.saturating_sub(count);
        Ok(count)
    }
}

impl Ends {
    fn open() -> Result<Self, NoPipe> {
        let opened = || -> io::Result<Self> {
            let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
            // One that cannot be as large stays as it is.
            let capacity = match fcntl_setpipe_size(&writing, CAPACITY) {
                Ok(capacity) => capacity,
                Err(_) => fcntl_getpipe_size(&writing)?,
            };
            Ok(Self {
                reading,
                writing,
                capacity,
            })
        };
        let why = match opened() {
            Ok(ends) if ends.capacity >= LEAST => return Ok(ends),
            Ok(ends) => format!(
                "the kernel gives only pipes of {} bytes; raise fs.pipe-user-pages-soft",
                ends.capacity
            ),
            Err(error) => format!("opening a pipe: {error}; raise the limit on open files"),
        };
        static TOLD: Once = Once::new();
        TOLD.call_once(|| tracing::warn!("bytes of plain connections are copied, since {why}"));
        Err(NoPipe::Refused)
    }
}

impl Place {
    fn take() -> Result<Self, NoPipe> {
        // Only a count: nothing is published with it.
        if TAKEN.fetch_add(1, Ordering::Relaxed) < IN_USE {
            return Ok(Self);
        }
        TAKEN.fetch_sub(1, Ordering::Relaxed);
        Err(NoPipe::AllInUse)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Held by a test that takes all pipes, and by those that need one.
#[cfg(test)]
pub(super) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Whether no pipe that is kept has bytes in it.
#[cfg(test)]
pub(super) fn kept_are_empty() -> bool {
    let free = FREE.lock();
    free.iter()
        .all(|ends| rustix::io::ioctl_fionread(&ends.reading).unwrap() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_pipes_than_may_be_in_use() {
        let _alone = ALONE.blocking_lock();
        let mut taken = Vec::new();
        let why = loop {
            match Pipe::take() {
                Ok(pipe) => taken.push(pipe),
                Err(why) => break why,
            }
        };
        assert_eq!(why, NoPipe::AllInUse);
        assert!(taken.len() <= IN_USE);
        taken.pop().unwrap().give_back();
        Pipe::take().unwrap();
        for pipe in taken {
            pipe.give_back();
        }
        assert!(FREE.lock().len() <= KEPT);
    }
}
