//! Pipes of the kernel, through which bytes go from one socket to another without being copied.
//!
//! A direction has one only while bytes flow through it in bulk, and gives it back empty. Their
//! number is bounded: what is in a pipe is memory of the kernel that belongs to neither socket.

use std::{
    cell::RefCell,
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

/// What a pipe is asked to hold.
pub(super) const CAPACITY: usize = 256 << 10;

/// What it must hold to be of use: a user who has more in pipes than fs.pipe-user-pages-soft
/// gets pipes of two pages.
const LEAST: usize = 64 << 10;

/// How many are in use at once in the process.
const IN_USE: usize = 64;

/// How many a thread keeps when nobody uses them.
const KEPT: usize = 4;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static FREE: RefCell<Vec<Ends>> = RefCell::default();
}

#[derive(Debug)]
struct Ends {
    reading: OwnedFd,
    writing: OwnedFd,
    capacity: usize,
}

/// Why there is no pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPipe {
    /// As many as there may be are in use.
    AllInUse,
    /// The kernel gives none, or none of use: the process has no more descriptors, or its user no
    /// more pages for pipes.
    Refused,
}

/// A pipe and the bytes in it. Dropped, it is closed; empty, it is better given back.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    filled: usize,
    _place: Place,
}

/// One of those that may be in use.
#[derive(Debug)]
struct Place;

impl Place {
    fn take() -> Option<Self> {
        // Only a count: nothing is published with it.
        if TAKEN.fetch_add(1, Ordering::Relaxed) < IN_USE {
            return Some(Self);
        }
        TAKEN.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipe {
    /// One that this thread has kept, or a new one.
    pub(super) fn take() -> Result<Self, NoPipe> {
        let place = Place::take().ok_or(NoPipe::AllInUse)?;
        let kept = FREE
            .try_with(|free| free.try_borrow_mut().ok()?.pop())
            .ok()
            .flatten();
        let ends = match kept {
            Some(ends) => ends,
            None => Ends::open()?,
        };
        Ok(Self {
            ends,
            filled: 0,
            _place: place,
        })
    }

    /// Keeps it for the next one, unless there are bytes in it.
    pub(super) fn give_back(self) {
        if self.filled > 0 {
            return;
        }
        // The list is gone only while its thread ends.
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut()
                && free.len() < KEPT
            {
                free.push(self.ends);
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Takes what a socket has for now. The pipe must be empty, so that it is the socket that has
    /// nothing when the answer is [`io::ErrorKind::WouldBlock`].
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "a pipe with bytes in it may be full");
        let (to, most) = (&self.ends.writing, self.ends.capacity);
        let count = splice(from, None, to, None, most, SpliceFlags::NONBLOCK)?;
        self.filled = count;
        Ok(count)
    }

    /// Gives a socket what it takes for now. Never asks for more than there is: the kernel would
    /// take that for a sign of more to come, and hold back the last segment.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let (from, all) = (&self.ends.reading, self.filled);
        let count = splice(from, None, to, None, all, SpliceFlags::NONBLOCK)?;
        self.filled = all.saturating_sub(count);
        Ok(count)
    }
}

impl Ends {
    fn open() -> Result<Self, NoPipe> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(|_| NoPipe::Refused)?;
        // Where it cannot be as large it stays as it is.
        let capacity = fcntl_setpipe_size(&writing, CAPACITY)
            .or_else(|_| rustix::pipe::fcntl_getpipe_size(&writing))
            .map_err(|_| NoPipe::Refused)?;
        if capacity < LEAST {
            return Err(NoPipe::Refused);
        }
        Ok(Self {
            reading,
            writing,
            capacity,
        })
    }
}
