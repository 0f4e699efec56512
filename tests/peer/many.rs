//! Many short connections, each checked by itself.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Error, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::errno_name;

/// See [`crate::Peer::Many`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Destinations, used in turn.
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// How many; without it, until a line comes on standard input.
    #[arg(long)]
    count: Option<u64>,
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// What each line says before its number.
    #[arg(long, default_value = "line-")]
    word: String,
    /// Every so many, write and close at once without waiting for the answer; 0 is never.
    #[arg(long, default_value_t = 0)]
    abrupt_every: u64,
    /// Milliseconds that each rests after a failure: one that costs nothing would come thousands of
    /// times a second, each with a record.
    #[arg(long, default_value_t = 0)]
    rest: u64,
}

pub(crate) fn run(args: Args) {
    let next = AtomicU64::new(0);
    let end = AtomicU64::new(args.count.unwrap_or(u64::MAX));
    let good = AtomicU64::new(0);
    let abrupt = AtomicU64::new(0);
    let failures: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.parallel {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let to = args.to[number as usize % args.to.len()];
                    let hurried = args.abrupt_every > 0 && number.is_multiple_of(args.abrupt_every);
                    match one(to, &format!("{}{number}", args.word), hurried) {
                        Ok(()) if hurried => abrupt.fetch_add(1, Ordering::Relaxed),
                        Ok(()) => good.fetch_add(1, Ordering::Relaxed),
                        Err(why) => {
                            *failures.lock().expect("lock").entry(why).or_default() += 1;
                            std::thread::sleep(Duration::from_millis(args.rest));
                            0
                        }
                    };
                }
            });
        }
        if args.count.is_none() {
            std::io::stdin()
                .read_line(&mut String::new())
                .expect("wait for the test");
            end.store(0, Ordering::Relaxed);
        }
    });
    println!(
        "{}",
        json!({
            "event": "done",
            "good": good.into_inner(),
            "abrupt": abrupt.into_inner(),
            "failures": failures.into_inner().expect("lock"),
            "milliseconds": started.elapsed().as_millis() as u64,
        })
    );
}

fn one(to: SocketAddr, line: &str, hurried: bool) -> Result<(), String> {
    let failed = |what: &'static str| move |error: Error| format!("{what}: {}", errno_name(&error));
    let mut stream = TcpStream::connect(to).map_err(failed("connect"))?;
    let port = stream.local_addr().map_err(failed("getsockname"))?.port();
    stream
        .write_all(format!("{line}\n").as_bytes())
        .map_err(failed("write"))?;
    if hurried {
        return Ok(());
    }
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .map_err(failed("read"))?;
    if answer.is_empty() {
        return Err("closed without an answer".to_owned());
    }
    let seen: Value = serde_json::from_str(&answer).map_err(|_| format!("answer: {answer}"))?;
    if seen["line"] != line {
        return Err("another connection's line came back".to_owned());
    }
    if seen["getsockname"] != to.to_string() {
        return Err(format!("reached {} in place of {to}", seen["getsockname"]));
    }
    let seen_port = seen["accept"]
        .as_str()
        .and_then(|addr| addr.parse::<SocketAddr>().ok())
        .map(|addr| addr.port());
    if seen_port != Some(port) {
        return Err("the server saw another client's port".to_owned());
    }
    Ok(())
}
