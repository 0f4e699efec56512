//! The server's end: one lease after another, each judged and dialled anew.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    LINGER, LINGER_LIMIT,
    decode::Event,
    exchange::{Exchange, Finish},
    frame::{self, Kind, LeaseNumber, Violation},
    open::Open,
    state::{Lease, Received, Role},
    wire::{NoEvent, Wire, lost},
};
use crate::{
    refusal::{Reason, Refusal},
    relay::{
        Moved, Transport,
        buffer::Then,
        vigil::{Alarm, Vigil},
    },
};

/// Decides about leases and connects them.
pub trait LeaseHandler: Sync {
    /// The application's socket.
    type App: Transport;
    /// What is told of the end of a lease.
    type Guard: LeaseGuard;

    /// Judges what the peer claims and connects to the application.
    ///
    /// It may take long: the client's bytes wait, up to [`super::REPLAY_LIMIT`]. The future is
    /// dropped if the client resets the lease or the tunnel breaks meanwhile; the handler's own
    /// record then says that ([`Reason::Reset`]).
    fn open(
        &self,
        open: Open,
    ) -> impl Future<Output = Result<Admitted<Self::App, Self::Guard>, Refusal>> + Send;
}

/// A lease that is granted.
#[derive(Debug)]
pub struct Admitted<A, G> {
    /// The application's socket.
    pub app: A,
    /// The connection's record.
    pub guard: G,
}

/// Is told once how a lease ended, whatever happens to the tunnel.
pub trait LeaseGuard: Send {
    /// `moved` is right also if the lease was cut off.
    fn ended(self, moved: Moved, end: Result<(), Refusal>);
}

/// Times of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long the tunnel may be without a lease.
    pub idle: Duration,
    /// How long a lease may be without a byte; not bounded if absent.
    pub lease_idle: Option<Duration>,
}

/// Serves one tunnel until its client closes it, it was idle for too long, or `stop` is ready.
///
/// `stop` asks for a drain: CLOSE is sent at once and a running lease goes on to its end. To
/// set that a deadline, drop the future: the lease and the tunnel are then reset, and its guard
/// is told [`Reason::DrainDeadline`].
///
/// # Errors
/// [`Reason::TunnelProtocol`] or [`Reason::TunnelLost`], for the log: the running lease, if
/// there was one, has been told.
pub async fn serve<T, H, S>(io: T, handler: &H, options: Options, stop: S) -> Result<(), Refusal>
where
    T: Transport,
    H: LeaseHandler,
    S: Future<Output = ()> + Send,
{
    let mut stop = Stop {
        stop: pin!(stop),
        fired: false,
        said: false,
    };
    let mut wire = Wire::new(io);
    let mut last = LeaseNumber::default();
    loop {
        let (number, open) = match next_open(&mut wire, &mut stop, options.idle, last).await? {
            Next::Open(number, open) => (number, open),
            Next::Close => return Box::pin(close(wire, Some(last))).await,
            Next::Ended => return Ok(()),
        };
        last = number;
        wire.leased = true;
        let mut lease = Lease::new(Role::Server, number);
        let mut early = Vec::new();
        // The dial and the lease live on the heap while they last: a future that holds both would
        // be large for each of many idle tunnels.
        let opening = handler.open(open);
        let answer = Box::pin(dial(&mut wire, &mut lease, &mut early, opening)).await?;
        let run = Run {
            stop: &mut stop,
            idle: options.lease_idle,
        };
        wire = match answer {
            Ok(Admitted { app, guard }) => {
                let mut told = Told {
                    guard: Some(guard),
                    moved: Moved::default(),
                };
                let exchange = Exchange::server(wire, lease, app, early, &mut told.moved);
                let (end, left) = Box::pin(run.exchange(exchange)).await;
                told.end(end.clone());
                match left {
                    Some(wire) => wire,
                    None => return end,
                }
            }
            Err(refusal) => {
                let mut none = Moved::default();
                let exchange =
                    Exchange::<T, H::App>::refused(wire, lease, refusal.clone(), &mut none);
                match Box::pin(run.exchange(exchange)).await {
                    (_, Some(wire)) => wire,
                    (end, None) => return end,
                }
            }
        };
        if stop.said {
            return Box::pin(close(wire, None)).await;
        }
    }
}

/// What comes after a lease.
enum Next {
    Open(LeaseNumber, Open),
    /// This end closes the tunnel.
    Close,
    /// The client closed it.
    Ended,
}

async fn next_open<T: Transport, S: Future<Output = ()>>(
    wire: &mut Wire<T>,
    stop: &mut Stop<'_, S>,
    idle: Duration,
    last: LeaseNumber,
) -> Result<Next, Refusal> {
    let mut timer = pin!(sleep(idle));
    let next = poll_fn(|cx| {
        if stop.poll_fired(cx) {
            return Poll::Ready(Ok(Next::Close));
        }
        match wire.next(cx) {
            Ok(Event::Open(number, open)) if number.0 == last.0.wrapping_add(1) => {
                Poll::Ready(Ok(Next::Open(number, open)))
            }
            Ok(event) => Poll::Ready(Err(misplaced(&event, last).into())),
            // Without a lease nothing is lost, however the connection ended.
            Err(NoEvent::End | NoEvent::Failed(_)) => Poll::Ready(Ok(Next::Ended)),
            Err(NoEvent::Violation(violation)) => Poll::Ready(Err(violation.into())),
            Err(NoEvent::Wait) => timer.as_mut().poll(cx).map(|()| Ok(Next::Close)),
        }
    })
    .await;
    if next.is_err() {
        // Makes the close a reset.
        wire.leased = true;
    }
    next
}

fn misplaced(event: &Event, last: LeaseNumber) -> Violation {
    let what = match event {
        Event::Open(got, _) => {
            return Violation::WrongLease {
                what: "OPEN",
                got: *got,
                expected: LeaseNumber(last.0.wrapping_add(1)),
            };
        }
        Event::Opened(_) => "OPENED",
        Event::Data(_) => "DATA",
        Event::Eof(_) => "EOF",
        Event::Reset(..) => "RESET",
        Event::Close(_) => "CLOSE",
    };
    Violation::WrongState {
        what,
        while_: "no lease was running",
    }
}

/// Waits for the handler and watches the client meanwhile. The outer error is the tunnel's end,
/// the inner one the lease's.
async fn dial<T: Transport, R>(
    wire: &mut Wire<T>,
    lease: &mut Lease,
    early: &mut Vec<u8>,
    opening: impl Future<Output = Result<R, Refusal>>,
) -> Result<Result<R, Refusal>, Refusal> {
    let mut opening = pin!(opening);
    poll_fn(|cx| {
        // What came with OPEN is not looked at before the handler was asked: most of the time it
        // stays where it is and is never copied.
        if let Poll::Ready(answer) = opening.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            let event = match wire.next(cx) {
                Ok(event) => event,
                Err(none) => {
                    return match none.refusal() {
                        Some(refusal) => Poll::Ready(Err(refusal)),
                        None => Poll::Pending,
                    };
                }
            };
            match lease.receive(&event) {
                Ok(Received::Deliver(count)) => {
                    early.extend_from_slice(wire.input.data().get(..count).unwrap_or_default());
                    wire.input.consume(count);
                }
                Ok(Received::Reset(code)) => return Poll::Ready(Ok(Err(code.refusal()))),
                Ok(Received::Eof) => {}
                Ok(_) => return Poll::Ready(Err(lost("a lease that was never opened"))),
                Err(violation) => return Poll::Ready(Err(violation.into())),
            }
        }
    })
    .await
}

struct Run<'a, 's, S> {
    stop: &'a mut Stop<'s, S>,
    idle: Option<Duration>,
}

impl<S: Future<Output = ()>> Run<'_, '_, S> {
    /// Runs a lease to its end. Without a connection in the answer the tunnel is closed.
    async fn exchange<T: Transport, A: Transport>(
        self,
        mut exchange: Exchange<'_, T, A>,
    ) -> (Result<(), Refusal>, Option<Wire<T>>) {
        let timer = pin!(sleep(Duration::MAX));
        let mut vigil = Vigil::new(timer, self.idle);
        let finish = poll_fn(|cx| {
            if !exchange.closing && self.stop.poll_fired(cx) {
                exchange.close();
            }
            exchange.poll(cx, &mut vigil)
        })
        .await;
        let Exchange {
            mut wire,
            mut app,
            refusal,
            closing,
            ..
        } = exchange;
        self.stop.said |= closing;
        match (refusal, finish) {
            (refusal, Finish::Over) => {
                if refusal.is_none() {
                    drop(app.take());
                }
                wire.leased = false;
                (refusal.map_or(Ok(()), Err), Some(wire))
            }
            (Some(refusal), _) => (Err(refusal), None),
            (None, _) => (Err(lost("the tunnel broke")), None),
        }
    }
}

/// Says CLOSE, unless that was said, and waits for the client to close: see [`LINGER`].
async fn close<T: Transport>(mut wire: Wire<T>, last: Option<LeaseNumber>) -> Result<(), Refusal> {
    if let Some(last) = last {
        wire.output.append(&frame::numbered(Kind::Close, last));
    }
    let timer = pin!(sleep(Duration::MAX));
    let mut vigil = Vigil::new(timer, None);
    vigil.within(LINGER);
    let mut discarded = 0;
    let mut unsaid = 0;
    poll_fn(|cx| {
        if wire.poll_write(cx, &mut unsaid).is_ready() && wire.poll_flush(cx).is_ready() {
            // After this the client reads the end of the stream behind CLOSE.
            let _ = Pin::new(&mut wire.io).poll_shutdown(cx);
        }
        loop {
            let mut got = 0;
            wire.input.consume(usize::MAX);
            match wire
                .input
                .poll_fill(&mut wire.io, cx, LINGER_LIMIT, &mut got)
            {
                Ok(Then::End) | Err(_) => return Poll::Ready(()),
                Ok(_) if got == 0 => break,
                Ok(_) => discarded += got,
            }
            if discarded > LINGER_LIMIT {
                return Poll::Ready(());
            }
        }
        match ready!(vigil.poll(cx)) {
            Alarm::Check | Alarm::Idle | Alarm::Deadline => Poll::Ready(()),
        }
    })
    .await;
    Ok(())
}

/// A future that is asked again after it was ready.
struct Stop<'s, S> {
    stop: Pin<&'s mut S>,
    fired: bool,
    /// CLOSE was said, because of this or for another reason.
    said: bool,
}

impl<S: Future<Output = ()>> Stop<'_, S> {
    fn poll_fired(&mut self, cx: &mut Context<'_>) -> bool {
        self.fired = self.fired || self.stop.as_mut().poll(cx).is_ready();
        self.fired
    }
}

/// Tells a guard the end of its lease, also if the tunnel's task is dropped.
struct Told<G: LeaseGuard> {
    guard: Option<G>,
    moved: Moved,
}

impl<G: LeaseGuard> Told<G> {
    fn end(mut self, end: Result<(), Refusal>) {
        if let Some(guard) = self.guard.take() {
            guard.ended(self.moved, end);
        }
    }
}

impl<G: LeaseGuard> Drop for Told<G> {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            let cut = Refusal::new(
                Reason::DrainDeadline,
                "the tunnel was dropped before its end",
            );
            guard.ended(self.moved, Err(cut));
        }
    }
}
