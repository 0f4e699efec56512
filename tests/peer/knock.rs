//! Somebody who is not let in, and does not take no for an answer.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::errno_name;

/// See [`crate::Peer::Knock`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Each has threads of its own, until a line comes on standard input.
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// Sources, one for each family at most.
    #[arg(long)]
    from: Vec<SocketAddr>,
    /// Threads for each destination.
    #[arg(long, default_value_t = 1)]
    parallel: usize,
    /// What to say.
    #[arg(long, default_value = "stranger")]
    say: String,
}

pub(crate) fn run(args: &Args) {
    let stop = AtomicBool::new(false);
    let outcomes: Mutex<BTreeMap<String, u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for &to in &args.to {
            for _ in 0..args.parallel {
                let (stop, outcomes) = (&stop, &outcomes);
                scope.spawn(move || {
                    let mut seen = BTreeMap::<String, u64>::new();
                    while !stop.load(Ordering::Relaxed) {
                        *seen.entry(knock(args, to)).or_default() += 1;
                    }
                    let mut outcomes = outcomes.lock().expect("lock");
                    for (outcome, count) in seen {
                        *outcomes.entry(outcome).or_default() += count;
                    }
                });
            }
        }
        println!("{}", json!({ "event": "knocking" }));
        std::io::stdin()
            .read_line(&mut String::new())
            .expect("wait for the test");
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "{}",
        json!({ "event": "done", "outcomes": outcomes.into_inner().expect("lock") })
    );
}

/// One try: `answered` if a single byte came back.
fn knock(args: &Args, to: SocketAddr) -> String {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {}", errno_name(&error));
    let attempt = || {
        let mut socket = Socket::new(Domain::for_address(to), Type::STREAM, None)
            .map_err(|error| failed("socket", error))?;
        if let Some(from) = args.from.iter().find(|from| from.is_ipv4() == to.is_ipv4()) {
            socket
                .bind(&(*from).into())
                .map_err(|error| failed("bind", error))?;
        }
        socket
            .connect_timeout(&to.into(), Duration::from_secs(2))
            .map_err(|error| failed("connect", error))?;
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .map_err(|error| failed("timeout", error))?;
        socket
            .write_all(format!("{}\r\n\r\n", args.say).as_bytes())
            .map_err(|error| failed("write", error))?;
        match socket.read(&mut [0; 64]) {
            Ok(0) => Ok("closed".to_owned()),
            Ok(_) => Ok("answered".to_owned()),
            Err(error) => Err(failed("read", error)),
        }
    };
    attempt().unwrap_or_else(|outcome: String| outcome)
}
