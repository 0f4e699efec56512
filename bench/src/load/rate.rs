//! [`Load::Rate`](super::Load::Rate): an open loop.
//!
//! One thread sends at the planned moments and reads nothing; for each connection another one reads.
//! The n-th answer of a connection belongs to its n-th request, whose planned moment is known, and
//! from that its latency counts: also when the request itself left late.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{
    Moment, Span, Tally, Way, bulk,
    dial::Dial,
    exchange::{Connection, Sizes, at_once},
    moment::wake_exactly,
    tally::Failed,
};
use crate::{Trouble, measured::Sample};

/// From when all connections are open to the first planned moment: threads start, and a stream
/// beside comes to its full flow.
const HEAD_START: Duration = Duration::from_millis(5);
const HEAD_START_OF_BULK: Duration = Duration::from_millis(250);

/// Bytes of each write of the stream beside.
const BULK_WRITE: u32 = 64 << 10;

/// What answers are read into.
const BUFFER: usize = 64 << 10;

/// When each request is to be sent, and on which connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    per_second: u64,
    connections: u64,
    total: u64,
}

impl Plan {
    pub(super) fn new(per_second: u32, connections: u32, time: Duration) -> Result<Self, Trouble> {
        let total = u128::from(per_second) * time.as_nanos() / 1_000_000_000;
        if total == 0 {
            return Err(Trouble::new(
                format!("sending {per_second} requests in a second for {time:?}"),
                "that is none",
            ));
        }
        Ok(Self {
            per_second: u64::from(per_second),
            connections: u64::from(at_once(connections)?),
            total: u64::try_from(total).unwrap_or(u64::MAX),
        })
    }

    fn time(&self) -> Duration {
        self.offset(self.total)
    }

    fn offset(&self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The numbers of the requests of one connection: each in turn has one.
    fn of_connection(&self, connection: u64) -> impl Iterator<Item = u64> + use<> {
        let step = usize::try_from(self.connections).unwrap_or(usize::MAX);
        (connection..self.total).step_by(step)
    }
}

pub(super) fn run(
    to: SocketAddr,
    sizes: Sizes,
    plan: Plan,
    beside_bulk: bool,
) -> Result<Sample, Trouble> {
    let dial = Dial::new(to);
    let mut total = Tally::new()?;
    let mut streams = Vec::new();
    let mut tallies = Vec::new();
    for _ in 0..plan.connections {
        let connection = Connection::open(&dial, sizes).map_err(|failed| dial.trouble(&failed))?;
        streams.push(connection.stream);
        tallies.push(Tally::new()?);
    }
    let start = Moment::now().after(if beside_bulk {
        HEAD_START_OF_BULK
    } else {
        HEAD_START
    });
    let span = Span {
        from: start,
        until: start.after(plan.time()),
    };
    let (streams, dial) = (&streams, &dial);
    let sent = thread::scope(|scope| {
        let bulk = beside_bulk
            .then(|| scope.spawn(move || bulk::beside(dial, Way::Down, BULK_WRITE, span)));
        let readers: Vec<_> = (0..)
            .zip(streams)
            .zip(tallies)
            .map(|((number, stream), mut tally)| {
                scope.spawn(move || {
                    read(stream, sizes, &plan, (number, start), &mut tally);
                    tally
                })
            })
            .collect();
        let sent = send(streams, sizes, &plan, start);
        if sent.is_err() {
            for stream in streams {
                // Answers to what was not sent are not waited for.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        for reader in readers {
            match reader.join() {
                Ok(tally) => total.add(tally),
                Err(_) => total.failed("a thread of the client panicked"),
            }
        }
        match bulk.map(thread::ScopedJoinHandle::join) {
            None => {}
            Some(Ok(Ok(seen))) => {
                total.done_untimed(0, seen.iter().map(|received| received.total).sum());
            }
            Some(Ok(Err(failed))) => total.failed(failed),
            Some(Err(_)) => total.failed("a thread of the client panicked"),
        }
        sent
    });
    if let Err(failed) = sent {
        total.failed(failed);
    }
    Ok(total.finish(Moment::now().since(start)))
}

fn send(streams: &[TcpStream], sizes: Sizes, plan: &Plan, start: Moment) -> Result<(), Failed> {
    let request = sizes.request();
    wake_exactly();
    for (number, mut stream) in (0..plan.total).zip(streams.iter().cycle()) {
        start.after(plan.offset(number)).wait();
        stream
            .write_all(&request)
            .map_err(Failed::at("sending a request"))?;
    }
    Ok(())
}

fn read(
    mut stream: &TcpStream,
    sizes: Sizes,
    plan: &Plan,
    (connection, start): (u64, Moment),
    tally: &mut Tally,
) {
    let mut buffer = vec![0; BUFFER];
    let mut have = 0;
    let mut planned = plan.of_connection(connection).peekable();
    while planned.peek().is_some() {
        let failed = match stream.read(&mut buffer) {
            Ok(0) => Failed::ended("waiting for an answer"),
            Ok(got) => {
                let now = Moment::now();
                have += got;
                while have >= sizes.answer() {
                    let Some(number) = planned.next() else { break };
                    have -= sizes.answer();
                    tally.done(now.since(start.after(plan.offset(number))), sizes.both());
                }
                continue;
            }
            Err(error) => Failed::at("waiting for an answer")(error),
        };
        return tally.failed_many(planned.count() as u64, failed);
    }
}
