//! The times that one connection waits for, on one timer that is armed only when needed.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// How often a socket that nobody reads is asked whether it was reset. It is a timer and not
/// a wake-up because tokio keeps one waiting reader for each socket, and that one is not
/// woken by what it did not ask for.
pub(crate) const CHECK: Duration = Duration::from_millis(500);

/// What has become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Ask the sockets that are not read whether they were reset.
    Check,
    /// No byte moved for the idle time.
    Idle,
    /// The deadline of [`Vigil::within`] passed.
    Deadline,
}

/// Waits for the earliest of up to three times.
pub(crate) struct Vigil<'a> {
    sleep: Pin<&'a mut Sleep>,
    armed: Option<Instant>,
    check: Option<Instant>,
    idle: Option<(Duration, Instant)>,
    deadline: Option<Instant>,
    moved: bool,
}

impl<'a> Vigil<'a> {
    /// `sleep` is only storage: it is armed for whatever comes first.
    pub(crate) fn new(sleep: Pin<&'a mut Sleep>, idle: Option<Duration>) -> Self {
        Self {
            sleep,
            armed: None,
            check: None,
            idle: idle.map(|span| (span, Instant::now() + span)),
            deadline: None,
            moved: false,
        }
    }

    /// Bytes moved. The clock is not read here: the idle alarm looks once each idle time, so
    /// it comes after one to two of them.
    pub(crate) fn touch(&mut self) {
        self.moved = true;
    }

    /// Some socket is not being read, and must be asked after a while.
    pub(crate) fn watch(&mut self) {
        if self.check.is_none() {
            self.check = Some(Instant::now() + CHECK);
        }
    }

    /// Sets the deadline, unless an earlier one is running.
    pub(crate) fn within(&mut self, span: Duration) {
        let at = Instant::now() + span;
        self.deadline = Some(self.deadline.map_or(at, |running| running.min(at)));
    }

    /// Takes the deadline back.
    pub(crate) fn release(&mut self) {
        self.deadline = None;
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Alarm> {
        loop {
            let idle = self.idle.map(|(_, at)| at);
            let Some(next) = [self.check, idle, self.deadline]
                .into_iter()
                .flatten()
                .min()
            else {
                return Poll::Pending;
            };
            // One that is armed for an earlier time, no longer wanted, is left to fire: that is
            // cheaper than moving it each time that a stall begins and ends.
            if self.armed.is_none_or(|armed| armed > next) {
                self.sleep.as_mut().reset(next);
                self.armed = Some(next);
            }
            ready!(self.sleep.as_mut().poll(cx));
            self.armed = None;
            let now = Instant::now();
            if self.deadline.is_some_and(|at| at <= now) {
                self.deadline = None;
                return Poll::Ready(Alarm::Deadline);
            }
            if let Some((span, at)) = &mut self.idle
                && *at <= now
            {
                *at = now + *span;
                if !std::mem::take(&mut self.moved) {
                    return Poll::Ready(Alarm::Idle);
                }
            }
            if self.check.is_some_and(|at| at <= now) {
                self.check = None;
                return Poll::Ready(Alarm::Check);
            }
        }
    }
}
