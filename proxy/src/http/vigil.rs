//! Times out what does not move: one timer for each connection, which nobody resets while bytes move.

use std::time::Duration;

use tokio::time::Instant;

use super::{serve::Version, session::Session, wire::Line};
use crate::{
    config,
    refusal::{Reason, Refusal},
};

/// How long a connection that was asked to end may take for it. In HTTP/1.1 only what is in the middle of
/// a head does not end at once; in HTTP/2 the client has to answer.
const LEAVE_ONE: Duration = Duration::from_millis(250);
const LEAVE_TWO: Duration = Duration::from_secs(5);

/// Looks at a connection from time to time.
pub(super) struct Vigil {
    version: Version,
    stall: Duration,
    head: Duration,
    /// When bodies are looked at.
    sweep: Instant,
    /// When it is looked at whether a request has come.
    idle: Instant,
    /// Until when it has to be gone.
    leave: Option<Instant>,
    /// Bytes that the client had taken by then, at the last sweep and the last look for a request.
    swept: u64,
    written: u64,
}

/// What is to be done.
pub(super) enum Look {
    Nothing,
    /// It is to end, as soon as it can.
    Leave,
    /// It ends now.
    Cut(Refusal),
    /// It ends now, for what one of its requests has noted.
    CutFor(Refusal),
}

impl Vigil {
    pub(super) fn new(http: &config::Http, version: Version) -> Self {
        let now = Instant::now();
        Self {
            version,
            stall: http.stall,
            head: http.head_timeout,
            sweep: now + http.stall,
            idle: now + http.head_timeout,
            leave: None,
            swept: 0,
            written: 0,
        }
    }

    /// When to look again.
    pub(super) fn next(&self) -> Instant {
        let next = self.sweep.min(self.idle);
        self.leave.map_or(next, |leave| next.min(leave))
    }

    pub(super) fn look(&mut self, session: &Session, line: &Line) -> Look {
        let now = Instant::now();
        let written = line.moved().down;
        if now >= self.sweep {
            self.sweep = now + self.stall;
            // In HTTP/2 it may be another stream that moves.
            let moved = written != self.swept && self.version == Version::One;
            self.swept = written;
            if let Some(refusal) = end_stalled(session, moved, self.stall) {
                return Look::CutFor(refusal);
            }
        }
        let Some(since) = session.none_since() else {
            self.idle = now + self.head;
            self.leave = None;
            return Look::Nothing;
        };
        if self.leave.is_some_and(|leave| now >= leave) {
            return Look::Cut(if line.is_blocked() {
                Refusal::new(
                    Reason::Stalled,
                    "the client did not take the end of an answer",
                )
            } else {
                Refusal::new(Reason::HeadTimeout, "the rest of a request did not come")
            });
        }
        if now < self.idle || self.leave.is_some() {
            return Look::Nothing;
        }
        self.idle = since + self.head;
        if line.is_blocked() && written != self.written {
            // The end of an answer is still on its way.
            self.written = written;
            self.idle = self.idle.max(now + self.stall);
        }
        if now < self.idle {
            return Look::Nothing;
        }
        self.idle = now + self.head;
        let leave = match self.version {
            Version::One => LEAVE_ONE,
            Version::Two => LEAVE_TWO,
        };
        self.leave = Some(now + leave);
        Look::Leave
    }
}

/// Ends the requests whose client does not move. What is returned is why the connection has to end.
fn end_stalled(session: &Session, moved: bool, stall: Duration) -> Option<Refusal> {
    let mut whole = None;
    let under_way = session.under_way();
    for exchange in under_way
        .iter()
        .filter(|exchange| exchange.has_stalled(moved))
    {
        let span = humantime::format_duration(stall);
        let refusal = Refusal::new(
            Reason::Stalled,
            format!("the client neither sent nor took anything for {span}"),
        );
        if !exchange.cut(refusal.clone()) {
            whole = Some(refusal);
        }
    }
    whole
}
