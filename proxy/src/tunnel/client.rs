//! The client's end: a tunnel that is leased to one application connection at a time.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    exchange::{Exchange, Finish},
    frame::LeaseNumber,
    open::Open,
    state::{Lease, Role},
    wire::{Wire, lost},
};
use crate::{
    refusal::{Reason, Refusal},
    relay::{Moved, Transport, vigil::Vigil},
};

/// An established tunnel on which no lease is running. It has one owner: whoever holds it may
/// lease it.
#[derive(Debug)]
pub struct Tunnel<T: Transport> {
    wire: Wire<T>,
    last: LeaseNumber,
    expires: Option<Instant>,
}

/// What was read from the application before the lease began.
#[derive(Debug, Default)]
pub struct Opening {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the end of the stream came after them.
    pub ended: bool,
}

/// How long a lease waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the server's answer to OPEN: a peer that vanished while its tunnel was idle is not
    /// waited for as long as TCP sends again. Longer than the server's own dial may take.
    pub answer: Duration,
    /// Without a byte; not bounded if absent.
    pub idle: Option<Duration>,
}

/// How a lease ended for the application.
#[derive(Debug)]
pub enum Outcome<A> {
    /// Both directions ended, each with all of its bytes.
    Clean,
    /// It was cut off, and the application was reset.
    Refused(Refusal),
    /// The server was closing the tunnel and never took the lease: nothing reached anybody.
    /// The same connection may be tried on another tunnel.
    NotAccepted {
        /// The application's socket.
        app: A,
        /// All that was read from it.
        replay: Opening,
    },
}

/// What is left after a lease.
#[derive(Debug)]
pub struct LeaseEnd<T: Transport, A> {
    /// How it ended.
    pub outcome: Outcome<A>,
    /// The tunnel, if the next lease may follow on it.
    pub tunnel: Option<Tunnel<T>>,
}

impl<T: Transport> Tunnel<T> {
    /// A tunnel over a connection whose handshake is done and whose ALPN is [`super::ALPN`].
    pub fn new(io: T) -> Self {
        Self {
            wire: Wire::new(io),
            last: LeaseNumber::default(),
            expires: None,
        }
    }

    /// Takes no lease after `at`: before either end's certificate expires.
    #[must_use]
    pub fn expiring(mut self, at: Instant) -> Self {
        self.expires = Some(at);
        self
    }

    /// The connection below.
    pub fn io(&self) -> &T {
        &self.wire.io
    }

    /// How many leases it has had.
    pub fn leases(&self) -> u32 {
        self.last.0
    }

    /// Carries one application connection.
    ///
    /// OPEN leaves at once, with the bytes that the application has already sent; an
    /// application that waits for the server's first byte is not waited for. Dropping the
    /// future resets the application and the tunnel. `moved` is right at any time.
    ///
    /// It needs a tokio runtime with timers.
    pub async fn lease<A: Transport>(
        self,
        open: &Open,
        app: A,
        first: Opening,
        patience: Patience,
        moved: &mut Moved,
    ) -> LeaseEnd<T, A> {
        let Self {
            wire,
            last,
            expires,
        } = self;
        let number = LeaseNumber(last.0.wrapping_add(1));
        let encoded = match open.encode(number) {
            Ok(encoded) => encoded,
            Err(refusal) => return refused(app, refusal),
        };
        let before = *moved;
        let lease = Lease::new(Role::Client, number);
        let mut exchange = Exchange::client(wire, lease, encoded, app, first.bytes, moved);
        exchange.app_ended = first.ended;
        let timer = pin!(sleep(Duration::MAX));
        let mut vigil = Vigil::new(timer, patience.idle);
        vigil.within(patience.answer);
        let finish = poll_fn(|cx| exchange.poll(cx, &mut vigil)).await;
        let Exchange {
            mut wire,
            mut app,
            lease,
            refusal,
            kept,
            to_peer,
            app_ended,
            ..
        } = exchange;
        if finish == Finish::NotAccepted
            && let (Some(app), Some(mut bytes)) = (app.take(), kept)
        {
            bytes.extend_from_slice(to_peer.rest());
            *moved = before;
            wire.leased = false;
            let replay = Opening {
                bytes,
                ended: app_ended,
            };
            return LeaseEnd {
                outcome: Outcome::NotAccepted { app, replay },
                tunnel: None,
            };
        }
        let outcome = match (refusal, finish) {
            (Some(refusal), _) => Outcome::Refused(refusal),
            (None, Finish::Over) => {
                // Both directions ended: this close is an orderly one.
                drop(app.take());
                Outcome::Clean
            }
            (None, _) => Outcome::Refused(lost("the tunnel broke")),
        };
        let tunnel = (finish == Finish::Over).then(|| {
            wire.leased = false;
            Self {
                wire,
                last: number,
                expires,
            }
        });
        LeaseEnd {
            outcome,
            tunnel: tunnel.filter(|tunnel| !lease.is_last() && tunnel.is_clear()),
        }
    }

    /// Whether nothing came after the last lease, and another number is left.
    fn is_clear(&self) -> bool {
        self.wire.at_boundary() && self.wire.is_flushed() && self.last.0 < u32::MAX
    }

    /// Whether a lease may begin: the tunnel is young enough, and its peer has neither closed
    /// it nor sent anything. It does not wait and costs no system call while nothing arrived.
    pub fn is_usable(&mut self) -> bool {
        if self.expires.is_some_and(|at| at <= Instant::now()) || !self.is_clear() {
            return false;
        }
        // A session ticket or a key update is taken here and leaves nothing to read. Budgets
        // of the calling task do not count: they would make a dead tunnel look alive.
        let wire = &mut self.wire;
        let look = poll_fn(|cx| std::task::Poll::Ready(wire.is_quiet(cx)));
        let mut look = pin!(tokio::task::unconstrained(look));
        let mut cx = Context::from_waker(Waker::noop());
        matches!(look.as_mut().poll(&mut cx), std::task::Poll::Ready(true))
    }

    /// Closes it in order, as far as that needs no waiting.
    pub fn close(mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.wire.io).poll_shutdown(&mut cx);
    }
}

fn refused<T: Transport, A: Transport>(mut app: A, refusal: Refusal) -> LeaseEnd<T, A> {
    debug_assert_eq!(refusal.reason, Reason::Internal);
    app.abort();
    LeaseEnd {
        outcome: Outcome::Refused(refusal),
        tunnel: None,
    }
}
