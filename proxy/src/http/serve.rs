//! One connection of HTTP, from its first request to its end.

use std::{
    error::Error,
    io,
    pin::{Pin, pin},
    sync::Arc,
};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep_until;

use super::{
    body::Down,
    exchange,
    session::{Session, in_mode_http},
    streams::Streams,
    vigil::{Look, Vigil},
    wire::{Line, Wire},
};
use crate::{
    config,
    data::Reloads,
    policy::Policy,
    refusal::{Reason, Refusal},
    tls::alert::refusal_from_io,
};

/// What hyper gathers of a connection in HTTP/1.1, in each direction, beyond what it is in the middle of.
const BUFFER: usize = 64 * 1024;
/// What a stream of HTTP/2 may send before its upstream takes any.
const STREAM_WINDOW: u32 = 64 * 1024;
/// And all of a connection together.
const WINDOW: u32 = 1024 * 1024;
/// What a stream of HTTP/2 may have waiting for its client, beside a frame.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams that a client opened and reset before they were looked at, and streams that were reset for
/// errors of the client's: with more, the connection is closed (GOAWAY, ENHANCE_YOUR_CALM).
const RESETS: usize = 20;
const ERRORS: usize = 128;

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1
    One,
    /// HTTP/2
    Two,
}

/// Why a connection ended before its time.
#[derive(Debug)]
pub enum Cut {
    /// For a reason of its own.
    Connection(Refusal),
    /// For that of one of its requests, whose record tells and counts it.
    Request(Refusal),
}

/// Serves the requests of a connection until it ends. `judge` says whether its client may go on under
/// another policy.
///
/// # Errors
/// See [`Cut`]; it is reset.
pub async fn serve(
    session: &Arc<Session>,
    (wire, line, version): (Wire, &Line, Version),
    reloads: &mut Reloads<'_>,
    judge: impl Fn(&Policy) -> Result<(), Refusal>,
) -> Result<(), Cut> {
    let _ends = Ends(session);
    let http = session.policy();
    let own = Arc::clone(session);
    let service = service_fn(move |request| exchange::answer(Arc::clone(&own), request));
    let io = TokioIo::new(wire);
    let over = Over {
        session,
        line,
        version,
        http: &http.spec,
    };
    match version {
        Version::One => {
            let connection = one(&http.spec).serve_connection(io, service);
            over.watch(connection.with_upgrades(), reloads, &judge)
                .await?;
        }
        Version::Two => {
            let connection = two(&http.spec).serve_connection(io, service);
            over.watch(connection, reloads, &judge).await?;
        }
    }
    let Some(upgrading) = session.take_upgrade() else {
        return Ok(());
    };
    let of_server = upgrading.judge();
    let both = |policy: &Policy| {
        judge(policy)?;
        of_server(policy)
    };
    let exchange = Arc::clone(&upgrading.exchange);
    let end = tokio::select! {
        biased;
        refusal = reloads.refused(both) => Err(refusal),
        end = upgrading.carry() => end,
    };
    exchange.answered();
    end.map_err(|refusal| {
        exchange.refuse(refusal.clone());
        Cut::Request(refusal)
    })
}

/// A request that waits to be upgraded holds its session, which holds it.
struct Ends<'a>(&'a Session);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        drop(self.0.take_upgrade());
    }
}

fn one(http: &config::Http) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The vigil has one timer for all of it, where hyper makes one for each head.
        .header_read_timeout(None)
        .max_header_size(http.max_head)
        .max_buf_size(http.max_head.max(BUFFER));
    builder
}

fn two(http: &config::Http) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(http.streams)
        .max_header_list_size(u32::try_from(http.max_head).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .keep_alive_interval(http.stall)
        .keep_alive_timeout(http.stall);
    builder
}

/// What hyper's connections have in common.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Ends when what is under way has ended.
    fn leave(self: Pin<&mut Self>);
}

impl<S> Connection for http1::UpgradeableConnection<TokioIo<Wire>, S>
where
    S: HttpService<Incoming, ResBody = Down>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Connection for http2::Connection<TokioIo<Wire>, S, Streams>
where
    S: HttpService<Incoming, ResBody = Down>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What watches over a connection.
struct Over<'a> {
    session: &'a Session,
    line: &'a Line,
    version: Version,
    http: &'a config::Http,
}

impl Over<'_> {
    async fn watch(
        &self,
        connection: impl Connection,
        reloads: &mut Reloads<'_>,
        judge: impl Fn(&Policy) -> Result<(), Refusal>,
    ) -> Result<(), Cut> {
        let mut connection = pin!(connection);
        let mut drain = self.session.data.live.drain();
        let mut drains = false;
        let mut vigil = Vigil::new(self.http, self.version);
        let mut timer = pin!(sleep_until(vigil.next()));
        loop {
            tokio::select! {
                biased;
                end = connection.as_mut() => return self.conclude(end),
                policy = reloads.next() => {
                    judge(&policy).map_err(|refusal| self.cut(refusal))?;
                    if in_mode_http(&policy, &self.session.of.listener).is_none() {
                        connection.as_mut().leave();
                    }
                }
                () = drain.begun(), if !drains => {
                    drains = true;
                    connection.as_mut().leave();
                }
                () = timer.as_mut() => {
                    match vigil.look(self.session, self.line) {
                        Look::Nothing => {}
                        Look::Leave => connection.as_mut().leave(),
                        Look::Cut(refusal) => return Err(self.cut(refusal)),
                        Look::CutFor(refusal) => return Err(Cut::Request(refusal)),
                    }
                    timer.as_mut().reset(vigil.next());
                }
            }
        }
    }

    /// All that is under way ends with the connection.
    fn cut(&self, refusal: Refusal) -> Cut {
        self.session.cut(&refusal);
        Cut::Connection(refusal)
    }

    fn conclude(&self, end: hyper::Result<()>) -> Result<(), Cut> {
        let Err(error) = end else {
            if !self.session.is_upgrading() {
                self.line.ended();
            }
            return Ok(());
        };
        if error.is_parse() {
            // It was answered with 400, 414 or 431.
            self.line.ended();
            return Err(self.cut(malformed(&error)));
        }
        let under_way = self.session.none_since().is_none();
        let at_socket = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        if let Some(refusal) = at_socket.and_then(refusal_from_io) {
            return Err(self.cut(refusal));
        }
        if let Some(refusal) = self.session.broken_by() {
            return Err(Cut::Request(refusal));
        }
        let broke = at_socket.is_some() || error.is_incomplete_message() || error.is_shutdown();
        if broke && !under_way {
            self.line.ended();
            return Ok(());
        }
        if broke || error.is_user() || self.version == Version::One {
            let refusal = Refusal::new(Reason::Reset, describe(&error));
            return Err(Cut::Request(refusal));
        }
        Err(self.cut(malformed(&error)))
    }
}

fn malformed(error: &hyper::Error) -> Refusal {
    Refusal::new(Reason::HttpProtocol, describe(error))
}

fn describe(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
