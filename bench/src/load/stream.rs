//! Bytes without end, at either end of a connection.
//!
//! What counts is what was received between two moments, which both ends know by the one clock of
//! the host: neither set-up nor slow start, and nothing that still lies in a buffer. A sender goes
//! on a little longer, so that the last of these moments is one of full flow.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{Moment, Span, Way};

/// How long a sender goes on after the span.
const TAIL: Duration = Duration::from_millis(30);

/// A sender looks at the clock once in so many bytes: at small writes a look would be a part of the cost.
const LOOK: usize = 16 << 10;

/// What is read into at once.
const BUFFER: usize = 256 << 10;

/// The largest write.
pub(super) const MOST_WRITE: u32 = 1 << 20;

/// What a receiver saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// All bytes, to the end.
    pub(super) total: u64,
    /// Those of the span, as near to it as reads were.
    pub(super) inside: u64,
    /// How long they took.
    pub(super) took: Duration,
}

impl Received {
    const LENGTH: usize = 24;

    fn encode(self) -> [u8; Self::LENGTH] {
        let took = u64::try_from(self.took.as_nanos()).unwrap_or(u64::MAX);
        let mut bytes = [0; Self::LENGTH];
        for (place, number) in bytes.chunks_mut(8).zip([self.total, self.inside, took]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes
            .chunks_exact(8)
            .filter_map(|chunk| Some(u64::from_le_bytes(chunk.try_into().ok()?)));
        Some(Self {
            total: numbers.next()?,
            inside: numbers.next()?,
            took: Duration::from_nanos(numbers.next()?),
        })
    }
}

/// The server's end: sends, receives or both, and says last what it received.
pub(crate) fn answer(mut stream: TcpStream, way: Way, write: u32, span: Span) -> io::Result<()> {
    SockRef::from(&stream).set_tcp_nodelay(false)?;
    let received = thread::scope(|scope| {
        let sender = way
            .is_down()
            .then(|| scope.spawn(|| send(&stream, write, span)));
        let received = way.is_up().then(|| receive(&stream, span)).transpose();
        if let Some(sender) = sender {
            sender.join().map_err(|_| io::Error::other("panicked"))??;
        }
        received
    })?;
    match received {
        Some((Some(received), _)) => stream.write_all(&received.encode()),
        _ => Ok(()),
    }
}

/// The client's end, to the end of the connection: what each way's receiver saw.
pub(super) fn transfer(
    stream: &TcpStream,
    way: Way,
    write: u32,
    span: Span,
) -> io::Result<Vec<Received>> {
    SockRef::from(stream).set_tcp_nodelay(false)?;
    thread::scope(|scope| {
        let sender = way.is_up().then(|| {
            scope.spawn(|| {
                send(stream, write, span)?;
                stream.shutdown(Shutdown::Write)
            })
        });
        let received = receive(stream, span);
        if let Some(sender) = sender {
            sender.join().map_err(|_| io::Error::other("panicked"))??;
        }
        let (here, last) = received?;
        let early = || io::Error::other("the stream ended before its time");
        let mut seen = Vec::new();
        if way.is_up() {
            seen.push(Received::decode(&last).ok_or_else(early)?);
        }
        if way.is_down() {
            seen.push(here.ok_or_else(early)?);
        }
        Ok(seen)
    })
}

fn send(mut stream: &TcpStream, write: u32, span: Span) -> io::Result<()> {
    let bytes = vec![0; write.clamp(1, MOST_WRITE) as usize];
    let until = span.until.after(TAIL);
    let between_looks = (LOOK / bytes.len()).max(1);
    while Moment::now() < until {
        for _ in 0..between_looks {
            stream.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// Reads to the end. Nothing is given where the end came before that of the span. Beside it the last
/// bytes, as many as a report has.
fn receive(mut stream: &TcpStream, span: Span) -> io::Result<(Option<Received>, Vec<u8>)> {
    // A reader that did not run for most of the span must not take the little that is left for all.
    let least = span.until.since(span.from) / 2;
    let mut buffer = vec![0; BUFFER];
    let mut last = Vec::new();
    let mut total = 0;
    let (mut begin, mut end) = (None, None);
    loop {
        let got = stream.read(&mut buffer)?;
        total += got as u64;
        let now = Moment::now();
        match begin {
            None if now >= span.from => begin = Some((total, now)),
            Some((_, since)) if end.is_none() && now >= span.until && now.since(since) >= least => {
                end = Some((total, now));
            }
            _ => {}
        }
        if got == 0 {
            // The sender has gone on to after the span; a busy machine shows it late.
            end = end.or((now >= span.until).then_some((total, now)));
            break;
        }
        let tail = got.saturating_sub(Received::LENGTH)..got;
        last.extend_from_slice(buffer.get(tail).unwrap_or_default());
        last.drain(..last.len().saturating_sub(Received::LENGTH));
    }
    let received = begin.zip(end).map(|(begin, end)| Received {
        total,
        inside: end.0 - begin.0,
        took: end.1.since(begin.1),
    });
    Ok((received, last))
}

impl Way {
    fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Both)
    }

    fn is_down(self) -> bool {
        matches!(self, Self::Down | Self::Both)
    }
}
