//! Bytes between two sockets: plain to plain, or plain to TLS.
//!
//! One future moves both directions of a connection: no lock, no second task, and no memory
//! while nothing moves. Half-close and reset pass through as what they are. Bulk between two plain
//! sockets goes through a pipe of the kernel and is never copied to user space.

use std::{future::poll_fn, io, pin::pin, task::Poll, time::Duration};

use tokio::time::sleep;

use crate::{
    refusal::{Reason, Refusal},
    tls::alert::refusal_from_io,
};

pub(crate) mod buffer;
#[cfg(test)]
pub(crate) mod loopback;
mod pipe;
mod pump;
mod splice;
mod transport;
pub(crate) mod vigil;

pub(crate) use pipe::PIPE_FILES;
pub use transport::Transport;
pub(crate) use transport::forward_transport;

use pump::{Failed, Pump, Waits};
use vigil::{Alarm, Vigil};

/// Bytes that were read from one side before the relay began, and are due to the other.
#[derive(Debug, Default)]
pub struct Start {
    /// Read from `a`; `b` gets them first.
    pub to_b: Vec<u8>,
    /// Read from `b`; `a` gets them first.
    pub to_a: Vec<u8>,
}

/// Bytes that were written, right at any time, also after an error or a cancellation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From the client to the server.
    pub up: u64,
    /// From the server to the client.
    pub down: u64,
}

/// Moves bytes between `a`, the client's side, and `b`, the server's, until both directions
/// have ended.
///
/// The end of one direction is passed on and the other goes on. If either side is reset, or
/// this future is dropped before its end, the sockets of both sides are set to be reset when
/// the caller drops them: a connection that was cut off never looks like one that ended.
/// A TLS peer that got our close_notify and closes without its own (NGINX does) ends the relay
/// without an error; the other side is reset all the same, should it still be reading.
/// `idle` ends a connection on which no byte moved for that time, at the latest after twice
/// that time; keepalive and the user timeout are the sockets' own, set by the caller.
///
/// # Errors
/// [`Reason::Reset`] if a side was reset, or ended without TLS's close_notify (RFC 8446
/// section 6.1: a truncation); [`Reason::IdleTimeout`].
pub async fn relay<A: Transport, B: Transport>(
    a: &mut A,
    b: &mut B,
    start: Start,
    idle: Option<Duration>,
    moved: &mut Moved,
) -> Result<(), Refusal> {
    let mut pumps = (Pump::new(start.to_b), Pump::new(start.to_a));
    pump(a, b, &mut pumps, idle, moved).await
}

async fn pump<A: Transport, B: Transport>(
    a: &mut A,
    b: &mut B,
    (up, down): &mut (Pump, Pump),
    idle: Option<Duration>,
    moved: &mut Moved,
) -> Result<(), Refusal> {
    let mut ends = Ends { a, b, ended: false };
    let timer = pin!(sleep(Duration::MAX));
    let mut vigil = Vigil::new(timer, idle);
    let mut unheard = None;
    poll_fn(|cx| {
        let before = *moved;
        let upward = match &unheard {
            Some(_) => Waits::Done,
            None => match up.poll(ends.a, ends.b, cx, &mut moved.up) {
                Ok(waits) => waits,
                Err(failed) if down.is_done() && failed.is_truncation() => {
                    return Poll::Ready(Ok(()));
                }
                // A server that answered and closed before it had read everything: its answer is
                // there to be read, and so is the reset behind it.
                Err(failed @ Failed::Sink(_)) => {
                    down.expect_no_end();
                    unheard = Some(failed);
                    Waits::Done
                }
                Err(failed) => return Poll::Ready(Err(reset("client", "server", failed))),
            },
        };
        let downward = match down.poll(ends.b, ends.a, cx, &mut moved.down) {
            Ok(waits) => waits,
            Err(failed) if up.is_done() && failed.is_truncation() => return Poll::Ready(Ok(())),
            Err(failed) => return Poll::Ready(Err(reset("server", "client", failed))),
        };
        if let Some(failed) = unheard.take_if(|_| downward != Waits::Reading) {
            return Poll::Ready(Err(reset("client", "server", failed)));
        }
        if upward == Waits::Done && downward == Waits::Done {
            ends.ended = true;
            return Poll::Ready(Ok(()));
        }
        if before != *moved {
            vigil.touch();
        }
        loop {
            if upward != Waits::Reading || downward != Waits::Reading {
                vigil.watch();
            }
            match vigil.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Alarm::Check | Alarm::Deadline) => {
                    let side = if ends.a.is_reset() {
                        "client"
                    } else if ends.b.is_reset() {
                        "server"
                    } else {
                        continue;
                    };
                    return Poll::Ready(Err(Refusal::new(
                        Reason::Reset,
                        format!("the {side}'s side was reset"),
                    )));
                }
                Poll::Ready(Alarm::Idle) => return Poll::Ready(Err(idle_for(idle))),
            }
        }
    })
    .await
}

/// The refusal of a connection on which nothing moved.
pub(crate) fn idle_for(idle: Option<Duration>) -> Refusal {
    let span = humantime::format_duration(idle.unwrap_or_default());
    Refusal::new(Reason::IdleTimeout, format!("no byte moved for {span}"))
}

fn reset(source: &str, sink: &str, failed: Failed) -> Refusal {
    let (Failed::Source(error) | Failed::Sink(error)) = &failed;
    // A peer judges our certificate after our handshake has ended; its alert comes here.
    if let Some(refusal) = refusal_from_io(error) {
        return refusal;
    }
    let detail = match failed {
        Failed::Source(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!("the {source}'s TLS connection was cut off without close_notify")
        }
        Failed::Source(error) => format!("reading from the {source}'s side: {error}"),
        Failed::Sink(error) => format!("writing to the {sink}'s side: {error}"),
    };
    Refusal::new(Reason::Reset, detail)
}

/// Resets both sockets unless the relay came to its end.
struct Ends<'a, A: Transport, B: Transport> {
    a: &'a mut A,
    b: &'a mut B,
    ended: bool,
}

impl<A: Transport, B: Transport> Drop for Ends<'_, A, B> {
    fn drop(&mut self) {
        if !self.ended {
            self.a.abort();
            self.b.abort();
        }
    }
}

#[cfg(test)]
mod tests;
