//! How long connect() takes, and nothing else of a connection.

use std::{
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use serde_json::json;

/// See [`crate::Peer::Connects`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// How often.
    #[arg(long)]
    count: usize,
}

pub(crate) fn run(args: &Args) {
    let mut nanoseconds: Vec<u64> = (0..args.count)
        .map(|_| {
            let begun = Instant::now();
            let stream = TcpStream::connect(args.to).expect("connect");
            let took = begun.elapsed();
            drop(stream);
            u64::try_from(took.as_nanos()).expect("fits")
        })
        .collect();
    nanoseconds.sort_unstable();
    let at = |percent: usize| nanoseconds[(nanoseconds.len() - 1) * percent / 100];
    println!("{}", json!({ "median": at(50), "p90": at(90) }));
}
