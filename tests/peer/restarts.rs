//! An application that is killed and started again, over and over.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

/// See [`crate::Peer::Restarts`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    times: u64,
    /// A life in which nobody came within this many milliseconds ends without.
    #[arg(long, default_value_t = 2_000)]
    patience: u64,
    /// Arguments of `peer serve`.
    #[arg(last = true, required = true)]
    serve: Vec<String>,
}

pub(crate) fn run(args: &Args) {
    let own = std::env::current_exe().expect("know the own binary");
    let mut served = 0_u64;
    let mut lives_with_service = 0_u64;
    let mut failed_starts = 0_u64;
    // Who was accepted and what was said to us: few values, however many connections.
    let mut clients = BTreeMap::<String, u64>::new();
    for _ in 0..args.times {
        let mut child = Command::new(&own)
            .arg("serve")
            .args(&args.serve)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the server");
        let output = child.stdout.take().expect("is piped");
        let (lines, arrived) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let mut note = |line: &str| {
            let said: Value = serde_json::from_str(line).unwrap_or_default();
            if said["event"] != "accepted" {
                return false;
            }
            let client = said["accept"].as_str().unwrap_or_default();
            let ip = client.rsplit_once(':').map_or(client, |(ip, _)| ip);
            *clients.entry(ip.to_owned()).or_default() += 1;
            served += 1;
            true
        };
        let mut lived = false;
        while !lived {
            match arrived.recv_timeout(Duration::from_millis(args.patience)) {
                Ok(line) => lived = note(&line),
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                // It could not listen.
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    failed_starts += 1;
                    break;
                }
            }
        }
        lives_with_service += u64::from(lived);
        child.kill().expect("kill the server");
        child.wait().expect("wait for the server");
        reader.join().expect("the reader does not panic");
        // What it had said before it died.
        for line in arrived.try_iter() {
            note(&line);
        }
    }
    println!(
        "{}",
        json!({
            "event": "done",
            "accepted": served,
            "failed_starts": failed_starts,
            "lives_with_service": lives_with_service,
            "clients": clients,
        })
    );
}
