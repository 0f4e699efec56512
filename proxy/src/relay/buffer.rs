//! Buffers that exist only while bytes are in them.
//!
//! A direction that waits holds none. One that moves bytes takes a small one from its
//! thread's free list and a larger one each time that a read fills it; so ten thousand idle
//! connections cost nothing here, and bulk transfer makes few system calls. A stalled direction
//! keeps what it holds: 64 KiB at most, apart from the few in the process that may have
//! [`Size::Kib256`].

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use tokio::io::ReadBuf;

use super::Transport;

/// How large the next buffer of a direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    #[default]
    Kib4,
    Kib16,
    Kib64,
    Kib256,
}

impl Size {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Kib4 => 4 << 10,
            Self::Kib16 => 16 << 10,
            Self::Kib64 => 64 << 10,
            Self::Kib256 => 256 << 10,
        }
    }

    fn larger(self) -> Self {
        match self {
            Self::Kib4 => Self::Kib16,
            Self::Kib16 => Self::Kib64,
            Self::Kib64 | Self::Kib256 => Self::Kib256,
        }
    }

    fn smaller(self) -> Self {
        match self {
            Self::Kib4 | Self::Kib16 => Self::Kib4,
            Self::Kib64 => Self::Kib16,
            Self::Kib256 => Self::Kib64,
        }
    }

    /// How many of this size a thread keeps when nobody uses them: 4.6 MiB in all.
    fn kept(self) -> usize {
        match self {
            Self::Kib4 | Self::Kib16 => 16,
            Self::Kib64 => 4,
            Self::Kib256 => 16,
        }
    }
}

#[derive(Default)]
struct FreeList {
    kib4: Vec<Vec<u8>>,
    kib16: Vec<Vec<u8>>,
    kib64: Vec<Vec<u8>>,
    kib256: Vec<Vec<u8>>,
}

impl FreeList {
    fn of(&mut self, size: Size) -> &mut Vec<Vec<u8>> {
        match size {
            Size::Kib4 => &mut self.kib4,
            Size::Kib16 => &mut self.kib16,
            Size::Kib64 => &mut self.kib64,
            Size::Kib256 => &mut self.kib256,
        }
    }
}

/// How many buffers of the largest size are in use at once in the process, 16 MiB: they help
/// a few bulk transfers, and would be a burden if a thousand readers stalled.
const LARGEST_IN_USE: usize = 64;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// The size asked for, or the next smaller one if all of the largest are in use.
fn admit(size: Size) -> Size {
    if size != Size::Kib256 {
        return size;
    }
    // Only a count: nothing is published with it.
    if LARGEST.fetch_add(1, Ordering::Relaxed) < LARGEST_IN_USE {
        return size;
    }
    LARGEST.fetch_sub(1, Ordering::Relaxed);
    size.smaller()
}

thread_local! {
    static FREE: RefCell<FreeList> = RefCell::default();
}

/// What a [`Buffer::poll_fill`] came upon after the bytes that it read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more for now; the task is woken when there is.
    Wait,
    /// The buffer, or what was allowed, is full; there may be more.
    Full,
    /// The end of the stream.
    End,
}

/// Bytes that were read and not yet passed on.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Initialised throughout; empty while nothing is held.
    bytes: Vec<u8>,
    held: Size,
    start: usize,
    end: usize,
    /// The size to take next.
    next: Size,
}

impl Buffer {
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Forgets the first `count` bytes: they were passed on.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count));
    }

    /// Bytes that may still be appended. Takes a buffer if none is held.
    pub(crate) fn room(&mut self) -> usize {
        self.hold();
        self.bytes.len() - self.end
    }

    /// Appends what is known to fit: control frames, in the smallest buffer.
    pub(crate) fn append(&mut self, data: &[u8]) {
        self.hold();
        let room = self.bytes.get_mut(self.end..self.end + data.len());
        debug_assert!(room.is_some(), "a frame does not fit its buffer");
        if let Some(room) = room {
            room.copy_from_slice(data);
            self.end += data.len();
        }
    }

    /// Overwrites `data.len()` bytes, `at` bytes after the first one held.
    pub(crate) fn patch(&mut self, at: usize, data: &[u8]) {
        let at = self.start + at;
        if let Some(place) = self.bytes.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
        }
    }

    /// Takes back what was appended after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }

    /// Reads until `io` has nothing more, at most `limit` bytes. `got` is added to even if the
    /// answer is an error.
    pub(crate) fn poll_fill<T: Transport>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        limit: usize,
        got: &mut usize,
    ) -> io::Result<Then> {
        let mut left = limit;
        loop {
            if left == 0 {
                return Ok(Then::Full);
            }
            match io.poll_readable(cx) {
                Poll::Pending => return Ok(self.wait(*got)),
                Poll::Ready(ready) => ready?,
            }
            self.hold();
            let room = self.bytes.get_mut(self.end..).unwrap_or_default();
            let allowed = left.min(room.len());
            let Some(room) = room.get_mut(..allowed).filter(|room| !room.is_empty()) else {
                self.grow();
                return Ok(Then::Full);
            };
            let mut read = ReadBuf::new(room);
            match Pin::new(&mut *io).poll_read(cx, &mut read) {
                Poll::Pending => return Ok(self.wait(*got)),
                Poll::Ready(done) => done?,
            }
            let count = read.filled().len();
            if count == 0 {
                return Ok(Then::End);
            }
            self.end += count;
            left -= count;
            *got += count;
        }
    }

    /// The next buffer is larger: this one was filled.
    pub(crate) fn grow(&mut self) {
        self.next = self.held.larger();
    }

    /// The next buffer is of the smallest size: bulk goes elsewhere.
    pub(crate) fn start_small(&mut self) {
        self.next = Size::default();
    }

    fn wait(&mut self, got: usize) -> Then {
        // One small message does not undo what a bulk transfer learned; several do.
        if got > 0 && got < self.held.bytes() / 4 {
            self.next = self.held.smaller();
        }
        Then::Wait
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if !self.is_empty() {
            return;
        }
        self.start = 0;
        self.end = 0;
        if self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        if self.held == Size::Kib256 {
            LARGEST.fetch_sub(1, Ordering::Relaxed);
        }
        // The list is gone only while its thread ends.
        let _ = FREE.try_with(|free| {
            if let Ok(mut free) = free.try_borrow_mut() {
                let list = free.of(self.held);
                if list.len() < self.held.kept() {
                    list.push(bytes);
                }
            }
        });
    }

    /// The same for bytes that TLS has taken and keeps, but for a buffer of the largest size: its
    /// count is what bounds those bytes, too.
    pub(crate) fn release_unless_largest(&mut self) {
        if self.held != Size::Kib256 {
            self.release();
        }
    }

    fn hold(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if self.held == self.next && !self.bytes.is_empty() {
                return;
            }
            self.release();
        }
        if !self.bytes.is_empty() {
            return;
        }
        self.held = admit(self.next);
        let kept = FREE
            .try_with(|free| free.try_borrow_mut().ok()?.of(self.held).pop())
            .ok()
            .flatten();
        self.bytes = kept.unwrap_or_else(|| vec![0; self.held.bytes()]);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.start = self.end;
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Buffer {
        let mut buffer = Buffer::default();
        for _ in 0..3 {
            buffer.append(b"x");
            buffer.grow();
            buffer.consume(1);
        }
        buffer.append(b"x");
        buffer
    }

    #[test]
    fn a_thousand_stalled_directions_do_not_hold_the_largest_buffer_each() {
        let stalled: Vec<_> = (0..1000).map(|_| filled()).collect();
        let held: usize = stalled.iter().map(|buffer| buffer.bytes.len()).sum();
        assert!(held <= LARGEST_IN_USE * (256 << 10) + 1000 * (64 << 10));
        drop(stalled);
        assert_eq!(filled().bytes.len(), 256 << 10, "they are given back");
    }
}
