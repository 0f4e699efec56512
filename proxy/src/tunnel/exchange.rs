//! One lease at work: an application's socket on one side, the tunnel on the other.

use std::task::{Context, Poll, ready};

use super::{
    RESET_GRACE,
    frame::ResetCode,
    state::{Lease, Role},
    wire::{Wire, lost},
};
use crate::{
    refusal::{Reason, Refusal},
    relay::{
        Moved, Transport,
        vigil::{Alarm, Vigil},
    },
};

mod inward;
mod outward;

/// How a lease ended, as far as the tunnel is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Both directions ended with their terminal frames.
    Over,
    /// The server never took it.
    NotAccepted,
    /// The tunnel must be closed by a reset.
    Broken,
}

/// An application's socket, which is reset when it is dropped before its connection ended.
#[derive(Debug)]
pub(super) struct Leased<A: Transport>(Option<A>);

impl<A: Transport> Leased<A> {
    /// Gives the socket back as it is.
    pub(super) fn take(&mut self) -> Option<A> {
        self.0.take()
    }
}

impl<A: Transport> Drop for Leased<A> {
    fn drop(&mut self) {
        if let Some(app) = &mut self.0 {
            app.abort();
        }
    }
}

/// Bytes that are already here and go before those that are read.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    used: usize,
}

impl Ahead {
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl From<Vec<u8>> for Ahead {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }
}

/// One lease at work.
pub(super) struct Exchange<'m, T: Transport, A: Transport> {
    pub(super) wire: Wire<T>,
    pub(super) app: Leased<A>,
    pub(super) lease: Lease,
    /// The first reason why it did not end cleanly.
    pub(super) refusal: Option<Refusal>,
    /// A copy of what was sent, until the server answers.
    pub(super) kept: Option<Vec<u8>>,
    /// For the peer, before what is read from the application.
    pub(super) to_peer: Ahead,
    /// For the application, before what is read from the tunnel.
    to_app: Ahead,
    /// The application will send no more.
    pub(super) app_ended: bool,
    /// The peer's application will send no more, and ours is to be told.
    shutdown_owed: bool,
    /// So many bytes at the front of the wire's input are for the application.
    deliver: usize,
    app_unflushed: bool,
    owed: Owed,
    /// OPENED has waited for long enough.
    opened_late: bool,
    /// The server said CLOSE, or is about to.
    pub(super) closing: bool,
    moved: &'m mut Moved,
    role: Role,
}

/// Control frames that are due.
#[derive(Debug, Default)]
struct Owed {
    open: Option<Vec<u8>>,
    /// It waits for the first bytes of the answer: by itself it would cost a write here, and there a
    /// wake-up while the application thinks.
    opened: bool,
    eof: bool,
    reset: Option<ResetCode>,
    close: bool,
}

impl<'m, T: Transport, A: Transport> Exchange<'m, T, A> {
    /// The client's end: `open` is the encoded OPEN, `first` what was read from `app` before.
    pub(super) fn client(
        wire: Wire<T>,
        lease: Lease,
        open: Vec<u8>,
        app: A,
        first: Vec<u8>,
        moved: &'m mut Moved,
    ) -> Self {
        let mut exchange = Self::new(Role::Client, wire, lease, Some(app), moved);
        exchange.owed.open = Some(open);
        exchange.kept = Some(Vec::new());
        exchange.to_peer = first.into();
        exchange
    }

    /// The server's end after its dial: `early` is what the client sent meanwhile.
    pub(super) fn server(
        wire: Wire<T>,
        mut lease: Lease,
        app: A,
        early: Vec<u8>,
        moved: &'m mut Moved,
    ) -> Self {
        let opened = lease.send_opened();
        let mut exchange = Self::new(Role::Server, wire, lease, Some(app), moved);
        exchange.owed.opened = opened;
        exchange.shutdown_owed = exchange.lease.received_all();
        exchange.to_app = early.into();
        exchange
    }

    /// The server's end of a lease that it refuses.
    pub(super) fn refused(
        wire: Wire<T>,
        lease: Lease,
        refusal: Refusal,
        moved: &'m mut Moved,
    ) -> Self {
        let mut exchange = Self::new(Role::Server, wire, lease, None, moved);
        exchange.fail(refusal);
        exchange
    }

    fn new(
        role: Role,
        mut wire: Wire<T>,
        lease: Lease,
        app: Option<A>,
        moved: &'m mut Moved,
    ) -> Self {
        wire.leased = true;
        Self {
            wire,
            app: Leased(app),
            lease,
            refusal: None,
            kept: None,
            to_peer: Ahead::default(),
            to_app: Ahead::default(),
            app_ended: false,
            shutdown_owed: false,
            deliver: 0,
            app_unflushed: false,
            owed: Owed::default(),
            opened_late: false,
            closing: false,
            moved,
            role,
        }
    }

    /// Tells the client that this is the last lease.
    pub(super) fn close(&mut self) {
        self.owed.close |= !self.closing;
        self.closing = true;
    }

    /// Moves what can be moved, until the lease is over one way or another.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, vigil: &mut Vigil<'_>) -> Poll<Finish> {
        loop {
            let failed = self.refusal.is_some();
            let before = *self.moved;
            let tunnel_read = match self.poll_inward(cx) {
                Ok(reading) => reading,
                Err(finish) => return Poll::Ready(finish),
            };
            if !tunnel_read && self.role == Role::Server && self.lease.sent_all() {
                // Behind the bytes that the application does not take there may be the client's
                // end of this lease, and its next OPEN: that must not wait for this application.
                self.close();
            }
            let app_read = self.poll_outward(cx);
            if self.is_over() {
                return Poll::Ready(Finish::Over);
            }
            if before != *self.moved {
                vigil.touch();
            }
            if self.refusal.is_some() || self.wire.broken.is_some() {
                vigil.within(RESET_GRACE);
            } else if self.lease.answered() {
                // What was running is the client's patience with its OPEN.
                vigil.release();
            }
            if self.refusal.is_some() != failed {
                // The application went while its peer's bytes waited for it: they are discarded
                // now, and what comes after them is read.
                continue;
            }
            if !tunnel_read || !app_read || self.owed.opened {
                vigil.watch();
            }
            match ready!(vigil.poll(cx)) {
                Alarm::Check => {
                    self.opened_late = true;
                    self.check();
                }
                Alarm::Idle => {
                    let detail = "no byte moved for the idle time";
                    self.fail(Refusal::new(Reason::IdleTimeout, detail));
                }
                Alarm::Deadline if self.says_close_first() => self.close(),
                Alarm::Deadline => {
                    let late = match &self.wire.broken {
                        Some(error) => lost(format!("writing to the tunnel: {error}")),
                        None => Refusal::new(
                            Reason::ConnectTimeout,
                            "the peer did not answer OPEN on an established tunnel",
                        ),
                    };
                    self.refusal.get_or_insert(late);
                    return Poll::Ready(Finish::Broken);
                }
            }
        }
    }

    /// Asks both sockets whether they were reset, for those that are not being read.
    fn check(&mut self) {
        if self.wire.io.is_reset() && self.wire.broken.is_none() {
            // Not at once the end: what the peer sent before, a CLOSE perhaps, is read first.
            self.wire.broken = Some(std::io::ErrorKind::ConnectionReset.into());
        }
        if self.app.0.as_ref().is_some_and(Transport::is_reset) {
            self.app_reset("it was reset");
        }
    }

    /// Whether this is a server that gives the tunnel up and has not said so. The reset follows
    /// after another [`RESET_GRACE`], unless the client closes.
    fn says_close_first(&self) -> bool {
        self.role == Role::Server && !self.closing && self.wire.broken.is_none()
    }

    fn is_over(&self) -> bool {
        self.lease.is_over()
            && !self.shutdown_owed
            && self.deliver == 0
            && self.to_app.rest().is_empty()
            && self.owed.reset.is_none()
            && !self.owed.eof
            && !self.owed.close
            && self.wire.is_flushed()
    }

    /// Ends our side: resets the application and tells the peer.
    fn fail(&mut self, refusal: Refusal) {
        // The application's reset must not wait until the peer has answered.
        drop(Leased(self.app.take()));
        self.to_app = Ahead::default();
        self.shutdown_owed = false;
        self.owed.opened = false;
        if self.lease.send_reset() {
            self.owed.reset = Some(ResetCode::of(refusal.reason));
        }
        self.refusal.get_or_insert(refusal);
    }

    fn app_reset(&mut self, what: impl std::fmt::Display) {
        let detail = format!("the application of this host: {what}");
        self.fail(Refusal::new(Reason::Reset, detail));
    }
}
