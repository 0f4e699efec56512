//! Many connections at the same time.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use crate::errno_name;

/// See [`crate::Peer::Hold`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    count: usize,
}

pub(crate) fn run(args: &Args) {
    let mut open = Vec::new();
    for number in 0..args.count {
        let asked = TcpStream::connect(args.to).and_then(|stream| ask(&stream).map(|()| stream));
        match asked {
            Ok(stream) => open.push(stream),
            Err(error) => {
                println!(
                    "{}",
                    json!({ "event": "failed", "at": number, "errno": errno_name(&error) })
                );
                return;
            }
        }
    }
    println!("{}", json!({ "event": "open", "count": open.len() }));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("wait for the test");
    let alive = open.iter().filter(|stream| ask(stream).is_ok()).count();
    println!("{}", json!({ "event": "done", "alive": alive }));
}

fn ask(mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"hold\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
