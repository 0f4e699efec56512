//! What a new connection costs.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    LONGEST, Moment, Tally,
    dial::{Deadline, Dial, read_to_end},
    tally::Failed,
};
use crate::{Trouble, agent::BYTE, measured::Sample};

/// After so many connect() one connection waits for its answer, which comes after those before were
/// accepted: a client is faster than a proxy, and at a full queue connect() takes a second.
const SETTLE: u32 = 64;

/// [`Load::Connect`](super::Load::Connect).
pub(super) fn connect(to: SocketAddr, count: u32) -> Result<Sample, Trouble> {
    let dial = Dial::new(to);
    each(count, |number| {
        if number % SETTLE == 0 {
            exchange(&dial)?;
        }
        let socket = dial.socket()?;
        // A reset leaves no TIME_WAIT, so that no port is taken by it.
        socket
            .set_linger(Some(Duration::ZERO))
            .map_err(Failed::at("having the socket closed by a reset"))?;
        let from = Moment::now();
        dial.connect(&socket)?;
        Ok((Moment::now().since(from), 0))
    })
}

/// [`Load::FirstByte`](super::Load::FirstByte).
pub(super) fn first_byte(to: SocketAddr, count: u32) -> Result<Sample, Trouble> {
    let dial = Dial::new(to);
    each(count, |_| Ok((exchange(&dial)?, 2)))
}

/// One connection and one byte there and back. The server closes first, right after its answer: a
/// reset would look like a failure to proxies, and the client's FIN would leave TIME_WAIT on its
/// ephemeral ports.
fn exchange(dial: &Dial) -> Result<Duration, Failed> {
    let socket = dial.socket()?;
    let from = Moment::now();
    dial.connect(&socket)?;
    let mut stream = TcpStream::from(socket);
    stream
        .write_all(&BYTE)
        .map_err(Failed::at("sending one byte"))?;
    let mut answer = [0; 16];
    let got = stream
        .read(&mut answer)
        .map_err(Failed::at("waiting for the first byte"))?;
    let took = Moment::now().since(from);
    if got == 0 {
        return Err(Failed::ended("waiting for the first byte"));
    }
    read_to_end(&mut stream, &mut answer)?;
    Ok(took)
}

/// `operation` so many times, one after another; it gives its latency and its bytes.
pub(super) fn each(
    count: u32,
    mut operation: impl FnMut(u32) -> Result<(Duration, u64), Failed>,
) -> Result<Sample, Trouble> {
    let mut tally = Tally::new()?;
    let deadline = Deadline::after(LONGEST);
    let from = Moment::now();
    for number in 0..count {
        if let Err(late) = deadline.check() {
            tally.failed_many(u64::from(count - number), late);
            break;
        }
        match operation(number) {
            Ok((took, bytes)) => tally.done(took, bytes),
            Err(failed) => tally.failed(failed),
        }
        if tally.is_hopeless() {
            break;
        }
    }
    Ok(tally.finish(Moment::now().since(from)))
}
