//! Requests of HTTP/1.1 with every byte as the test wrote it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::errno_name;

/// See [`crate::Peer::Raw`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    to: SocketAddr,
    /// Each on a connection of its own; `\r`, `\n`, `\t`, `\0` and `\\` are those bytes.
    requests: Vec<String>,
}

pub(crate) fn run(args: &Args) {
    for request in &args.requests {
        let mut answer = Vec::new();
        let end = ask(args.to, &bytes_of(request), &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        // Of an answer in a body nobody says "HTTP/1.1 " here.
        let answers = answer.split("HTTP/1.1 ").skip(1);
        let statuses: Vec<_> = answers.map(|answer| answer.get(..3)).collect();
        println!(
            "{}",
            json!({ "event": "answered", "request": request, "statuses": statuses, "end": end })
        );
    }
}

/// Until the server has ended the connection.
fn ask(to: SocketAddr, request: &[u8], answer: &mut Vec<u8>) -> String {
    let mut all = || {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request)?;
        stream.read_to_end(answer)
    };
    match all() {
        Ok(_) => "eof".to_owned(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => "silent".to_owned(),
        Err(error) => errno_name(&error),
    }
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                other => other.expect("something after a backslash"),
            },
            other => other,
        });
    }
    bytes
}
