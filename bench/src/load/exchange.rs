//! Messages there and back on open connections, and requests as many as can be had.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::Duration,
};

use super::{
    Moment, Tally,
    dial::{Dial, read_to_end},
    open::each,
    tally::Failed,
};
use crate::{Trouble, agent::Verb, measured::Sample};

/// Exchanges on a new connection before those that count: its path may be set up by the first only,
/// and large ones need some for TCP's window to open.
const WARM_UP: u32 = 4;

/// What answers are read into.
const BUFFER: usize = 64 << 10;

/// More threads than this would measure the scheduler.
const MOST_CONNECTIONS: u32 = 256;

/// Bytes of a request and of its answer, neither 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    request: u32,
    answer: u32,
}

impl Sizes {
    pub(super) fn new(request: u32, answer: u32) -> Result<Self, Trouble> {
        if request == 0 || answer == 0 {
            return Err(Trouble::new(
                format!("exchanging {request} bytes for {answer}"),
                "an answer of no bytes cannot be waited for, nor can a request",
            ));
        }
        Ok(Self { request, answer })
    }

    /// Bytes of an exchange, both ways.
    pub(super) fn both(self) -> u64 {
        u64::from(self.request) + u64::from(self.answer)
    }

    pub(super) fn answer(self) -> usize {
        self.answer as usize
    }

    /// A request: what it says does not matter.
    pub(super) fn request(self) -> Vec<u8> {
        vec![0; self.request as usize]
    }

    fn verb(self, last: bool) -> Verb {
        Verb::Exchange {
            request: self.request,
            answer: self.answer,
            last,
        }
    }
}

/// An open connection over which requests go.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    sizes: Sizes,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opened, and warm.
    pub(super) fn open(dial: &Dial, sizes: Sizes) -> Result<Self, Failed> {
        let mut connection = Self {
            stream: dial.open(sizes.verb(false))?,
            sizes,
            request: sizes.request(),
            buffer: vec![0; BUFFER],
        };
        for _ in 0..WARM_UP {
            connection.exchange()?;
        }
        Ok(connection)
    }

    fn exchange(&mut self) -> Result<Duration, Failed> {
        let from = Moment::now();
        self.stream
            .write_all(&self.request)
            .map_err(Failed::at("sending a request"))?;
        read_answer(&mut self.stream, &mut self.buffer, self.sizes)?;
        Ok(Moment::now().since(from))
    }
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8], sizes: Sizes) -> Result<(), Failed> {
    let doing = "waiting for an answer";
    let mut left = sizes.answer();
    while left > 0 {
        let most = left.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        match stream.read(part).map_err(Failed::at(doing))? {
            0 => return Err(Failed::ended(doing)),
            got => left -= got,
        }
    }
    Ok(())
}

/// [`Load::RoundTrip`](super::Load::RoundTrip).
pub(super) fn round_trip(to: SocketAddr, size: u32, count: u32) -> Result<Sample, Trouble> {
    let dial = Dial::new(to);
    let sizes = Sizes::new(size, size)?;
    let mut connection = Connection::open(&dial, sizes).map_err(|failed| dial.trouble(&failed))?;
    each(count, |_| Ok((connection.exchange()?, sizes.both())))
}

/// [`Load::Requests`](super::Load::Requests).
pub(super) fn requests(
    to: SocketAddr,
    sizes: Sizes,
    connections: u32,
    keep_alive: bool,
    time: Duration,
) -> Result<Sample, Trouble> {
    let dial = Dial::new(to);
    let dial = &dial;
    let mut open = Vec::new();
    for _ in 0..at_once(connections)? {
        let connection = if keep_alive {
            Some(Connection::open(dial, sizes).map_err(|failed| dial.trouble(&failed))?)
        } else {
            None
        };
        open.push(connection);
    }
    together(open, time, |connection, tally, until| match connection {
        Some(mut connection) => {
            closed_loop(tally, until, || Ok((connection.exchange()?, sizes.both())));
        }
        None => {
            let mut request = sizes.verb(true).encode();
            request.extend(sizes.request());
            let mut buffer = vec![0; BUFFER];
            closed_loop(tally, until, || {
                Ok((alone(dial, sizes, &request, &mut buffer)?, sizes.both()))
            });
        }
    })
}

/// A request on a connection of its own, which the server closes first, see [`Verb::Exchange`].
fn alone(dial: &Dial, sizes: Sizes, request: &[u8], buffer: &mut [u8]) -> Result<Duration, Failed> {
    let socket = dial.socket()?;
    let from = Moment::now();
    dial.connect(&socket)?;
    let mut stream = TcpStream::from(socket);
    stream
        .write_all(request)
        .map_err(Failed::at("sending a request"))?;
    read_answer(&mut stream, buffer, sizes)?;
    let took = Moment::now().since(from);
    read_to_end(&mut stream, buffer)?;
    Ok(took)
}

/// How many connections are made by a thread each.
pub(super) fn at_once(connections: u32) -> Result<u32, Trouble> {
    if (1..=MOST_CONNECTIONS).contains(&connections) {
        return Ok(connections);
    }
    Err(Trouble::new(
        format!("loading {connections} connections at once"),
        format!("each has a thread, so that there may be 1 to {MOST_CONNECTIONS}"),
    ))
}

/// `operation` again and again until then, or until it fails too often; at least once.
pub(super) fn closed_loop(
    tally: &mut Tally,
    until: Moment,
    mut operation: impl FnMut() -> Result<(Duration, u64), Failed>,
) {
    loop {
        match operation() {
            Ok((took, bytes)) => tally.done(took, bytes),
            Err(failed) => tally.failed(failed),
        }
        if Moment::now() >= until || tally.is_hopeless() {
            return;
        }
    }
}

/// Has a thread for each of `items` do `work` until `time` is over, and counts it all. The time begins
/// when all threads run.
pub(super) fn together<T: Send>(
    items: Vec<T>,
    time: Duration,
    work: impl Fn(T, &mut Tally, Moment) + Sync,
) -> Result<Sample, Trouble> {
    let work = &work;
    let mut total = Tally::new()?;
    let tallies = items.iter().map(|_| Tally::new());
    let tallies: Vec<_> = tallies.collect::<Result<_, _>>()?;
    let ready = &Barrier::new(items.len());
    let mut begun = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .into_iter()
            .zip(tallies)
            .map(|(item, mut tally)| {
                scope.spawn(move || {
                    ready.wait();
                    let from = Moment::now();
                    work(item, &mut tally, from.after(time));
                    (from, tally)
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok((from, tally)) => {
                    begun.push(from);
                    total.add(tally);
                }
                Err(_) => total.failed("a thread of the client panicked"),
            }
        }
    });
    let from = begun.into_iter().min().unwrap_or_else(Moment::now);
    Ok(total.finish(Moment::now().since(from)))
}
