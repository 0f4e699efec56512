//! Much data on one connection: verified both ways, or pushed at a reader that does not read.

use std::{
    io::{ErrorKind, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    errno_name,
    pattern::{Pattern, Verifier},
};

/// See [`crate::Peer::Bulk`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    to: SocketAddr,
    /// Bytes in each direction.
    #[arg(long)]
    bytes: u64,
}

/// See [`crate::Peer::Flood`].
#[derive(clap::Args)]
pub(crate) struct FloodArgs {
    #[arg(long)]
    to: SocketAddr,
    /// How many connections, all at once.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Sends nothing: only connects, and does not read.
    #[arg(long)]
    silent: bool,
}

static BLOCK: [u8; 64 << 10] = [0x5a; 64 << 10];

pub(crate) fn run(args: &Args) {
    let stream = TcpStream::connect(args.to).expect("connect");
    println!("{}", exchange(&stream, args.bytes));
}

/// Writes `bytes` of the pattern and half-closes, while it reads and verifies to the end.
pub(crate) fn exchange(stream: &TcpStream, bytes: u64) -> serde_json::Value {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            Pattern::new().write_to(&mut &*stream, bytes)?;
            stream.shutdown(Shutdown::Write)
        });
        let mut verifier = Verifier::new();
        let read = verifier.read_from(&mut &*stream);
        let wrote = writer.join().expect("the writer does not panic");
        json!({
            "event": "exchanged",
            "received": verifier.position(),
            "read_error": read.err().map(|error| errno_name(&error)),
            "write_error": wrote.err().map(|error| errno_name(&error)),
            "milliseconds": started.elapsed().as_millis() as u64,
        })
    })
}

pub(crate) fn flood(args: &FloodArgs) {
    let streams: Vec<_> = (0..args.count)
        .map(|_| TcpStream::connect(args.to).expect("connect"))
        .collect();
    std::thread::scope(|scope| {
        for stream in streams.iter().filter(|_| !args.silent) {
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, || println!("{}", push_until_stuck(stream)))
                .expect("start a thread");
        }
    });
    println!("{}", json!({ "event": "all", "count": streams.len() }));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("wait for the test");
    for stream in &streams {
        // An orderly close would wait behind the bytes that nobody takes.
        socket2::SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .expect("close by a reset");
    }
}

/// Writes until nothing was taken for two seconds, or 2 GiB were: a bounded path takes far less.
pub(crate) fn push_until_stuck(stream: &TcpStream) -> serde_json::Value {
    const ENDLESS: u64 = 2 << 30;
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .expect("set a timeout");
    let mut taken = 0;
    let end = loop {
        match (&mut &*stream).write(&BLOCK) {
            Ok(written) => taken += written as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break "stuck".to_owned(),
            Err(error) => break errno_name(&error),
        }
        if taken > ENDLESS {
            break "endless".to_owned();
        }
    };
    json!({ "event": "flooded", "taken": taken, "end": end })
}
