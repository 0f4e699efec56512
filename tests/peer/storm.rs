//! Connections that do everything at once: each end knows from the connection's number what it
//! sends, what it gets and how it ends, so that a byte of another connection is found.

use std::{
    io::{Error, ErrorKind, Read, Result, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::errno_name;

/// What the buffers of a connection take without a reader, whatever is between its ends.
const UNREAD: usize = 8 << 10;

/// See [`crate::Peer::Storm`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Destinations, used in turn.
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    #[arg(long)]
    count: u64,
    #[arg(long)]
    parallel: usize,
    /// Makes other numbers, and so other choices.
    #[arg(long)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Half-closes when it has sent all.
    Early,
    /// Half-closes when it has read all, too.
    Late,
    /// Resets when it has sent all.
    Reset,
}

/// One end of a connection.
#[derive(Clone, Copy)]
struct Part {
    seed: u64,
    sends: usize,
    ending: Ending,
    /// Milliseconds before it reads.
    stall: u64,
}

/// splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// What client and server do with a connection.
fn parts(number: u64) -> [Part; 2] {
    let mut parts = [1, 2].map(|side| {
        let seed = mix(number ^ side << 62);
        let roll = |salt: u64, sides: u64| mix(seed ^ salt) % sides;
        Part {
            seed,
            sends: match roll(1, 100) {
                0..20 => 0,
                20..65 => roll(2, 300),
                65..90 => roll(2, 8_000),
                90..99 => roll(2, 60_000),
                _ => roll(2, 600_000),
            } as usize,
            ending: match roll(3, 16) {
                0..2 => Ending::Reset,
                2..6 => Ending::Late,
                _ => Ending::Early,
            },
            stall: if roll(4, 12) == 0 { 1 + roll(5, 10) } else { 0 },
        }
    });
    if parts.iter().all(|part| part.ending == Ending::Late) {
        // Each would wait for the other.
        parts[1].ending = Ending::Early;
    }
    parts
}

impl Part {
    fn bytes(self) -> Vec<u8> {
        let words = (0..self.sends.div_ceil(8) as u64).map(|at| mix(self.seed ^ at << 8));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(self.sends);
        bytes
    }

    /// Plays it, with a `head` before its bytes; the far end is `other`. An error is a wrong byte.
    /// Answers whether all was sent, received and ended in order.
    fn play(self, stream: &TcpStream, head: &[u8], other: Self) -> Result<bool> {
        let sent = [head, &self.bytes()].concat();
        let mut got = Vec::new();
        let read = |got: &mut Vec<u8>| {
            std::thread::sleep(Duration::from_millis(self.stall));
            (&mut &*stream).read_to_end(got).is_ok()
        };
        let write = || {
            let written = (&mut &*stream).write_all(&sent).is_ok();
            written && (self.ending != Ending::Early || stream.shutdown(Shutdown::Write).is_ok())
        };
        let clean = match self.ending {
            Ending::Reset => {
                stream.set_write_timeout(Some(Duration::from_millis(20)))?;
                let _ = (&mut &*stream).write_all(&sent);
                SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                false
            }
            _ if sent.len() <= UNREAD => write() & read(&mut got),
            _ => std::thread::scope(|scope| {
                let writer = scope.spawn(write);
                let read = read(&mut got);
                writer.join().expect("the writer does not panic") & read
            }),
        };
        let due = other.bytes();
        if let Some(at) = (0..got.len()).find(|&at| due.get(at) != got.get(at)) {
            let wrong = format!("wrong byte at {at} of {}", due.len());
            return Err(Error::new(ErrorKind::InvalidData, wrong));
        }
        let ended = self.ending != Ending::Late || stream.shutdown(Shutdown::Write).is_ok();
        Ok(clean && ended && got.len() == due.len())
    }
}

/// The server's end. Answers the number if all ended in order, as it should have or not.
pub(crate) fn serve(stream: &TcpStream) -> Result<Option<u64>> {
    let mut head = [0; 8];
    if (&mut &*stream).read_exact(&mut head).is_err() {
        // Its client was to reset, and did before it said who it is.
        return Ok(None);
    }
    let number = u64::from_be_bytes(head);
    let [client, server] = parts(number);
    let clean = server.play(stream, &[], client)?;
    Ok(clean.then_some(number))
}

#[derive(Default)]
struct Report {
    clean: u64,
    cut: u64,
    bad: Vec<String>,
}

pub(crate) fn run(args: &Args) {
    let next = AtomicU64::new(0);
    let report = Mutex::new(Report::default());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.parallel {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= args.count {
                        return;
                    }
                    let to = args.to[index as usize % args.to.len()];
                    let number = mix(args.seed ^ index << 16);
                    let end = one(to, number);
                    let mut report = report.lock().expect("lock");
                    match end {
                        Ok(true) => report.clean += 1,
                        Ok(false) => report.cut += 1,
                        Err(why) => report.bad.push(format!("{number:x}: {why}")),
                    }
                }
            });
        }
    });
    let report = report.into_inner().expect("lock");
    println!("{}", said(&report, started.elapsed()));
}

fn said(report: &Report, elapsed: Duration) -> Value {
    json!({
        "event": "done",
        "clean": report.clean,
        "cut": report.cut,
        "bad": report.bad.iter().take(10).collect::<Vec<_>>(),
        "milliseconds": elapsed.as_millis() as u64,
    })
}

/// One connection; whether it was one that nobody resets.
fn one(to: SocketAddr, number: u64) -> std::result::Result<bool, String> {
    let [client, server] = parts(number);
    let stream = TcpStream::connect(to).map_err(|error| errno_name(&error))?;
    let clean = client
        .play(&stream, &number.to_be_bytes(), server)
        .map_err(|error| error.to_string())?;
    let whole = [client, server]
        .iter()
        .all(|part| part.ending != Ending::Reset);
    if whole && !clean {
        return Err("it did not end in order, or not with all bytes".to_owned());
    }
    Ok(whole)
}
