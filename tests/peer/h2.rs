//! HTTP/2 in frames made by hand, for what no library sends.

use std::{
    io::{ErrorKind, Read, Result, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::errno_name;

mod cases;
mod flood;
mod frame;

pub(crate) use flood::{FloodArgs, flood};
use frame::{Frame, PREFACE, settings};

/// How long a server may take to judge.
const PATIENCE: Duration = Duration::from_secs(10);

/// See [`crate::Peer::H2`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    to: SocketAddr,
    /// Which; without any, all of them.
    #[arg(long)]
    case: Vec<String>,
}

/// One connection after another, each with something wrong in it, and what came of it.
pub(crate) fn run(args: &Args) {
    for case in cases::all() {
        if !args.case.is_empty() && !args.case.iter().any(|name| name == case.name) {
            continue;
        }
        let verdict = judged(args.to, &case.bytes).unwrap_or_else(|error| errno_name(&error));
        println!(
            "{}",
            json!({ "event": "judged", "case": case.name, "scope": case.scope.name(), "verdict": verdict })
        );
    }
}

/// A connection whose first header block has no end.
pub(crate) fn half_a_head(path: &str) -> Vec<u8> {
    let begun = frame::frame(frame::HEADERS, 0, 1, &frame::request("GET", path));
    [PREFACE, &settings(&[]), &begun].concat()
}

/// A connection whose first body has none.
pub(crate) fn half_a_body(path: &str) -> Vec<u8> {
    let head = frame::headers(1, 0, &frame::request("POST", path));
    let begun = frame::frame(frame::DATA, 0, 1, b"begun");
    [PREFACE, &settings(&[]), &head, &begun].concat()
}

/// A connection that asks on ten streams for as much as its windows of `window` bytes let come.
pub(crate) fn greedy(path: &str, window: u32) -> Vec<u8> {
    let mut bytes = [PREFACE, &settings(&[(4, window)])].concat();
    if window > 0 {
        let more = window.to_be_bytes();
        bytes.extend(frame::frame(frame::WINDOW_UPDATE, 0, 0, &more));
    }
    for stream in 0..10 {
        bytes.extend(frame::get(stream * 2 + 1, path));
    }
    bytes
}

/// A connection after its preface.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn open(to: SocketAddr, parameters: &[(u16, u32)]) -> Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all(&[PREFACE, &settings(parameters)].concat())?;
        Ok(Self { stream })
    }

    /// The next frame; `None` at the end of the stream.
    fn frame(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut frame = Frame::of_head(head);
        self.stream.read_exact(&mut frame.payload)?;
        Ok(Some(frame))
    }

    /// What the server says to what it was sent, in the words of RFC 9113.
    fn verdict(&mut self) -> Result<String> {
        loop {
            let frame = match self.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok("closed".to_owned()),
                // Also in the middle of what is no frame: an answer in HTTP/1.1.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                    ) =>
                {
                    return Ok("closed".to_owned());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok("silent".to_owned());
                }
                Err(error) => return Err(error),
            };
            if let Some(verdict) = frame.verdict() {
                return Ok(verdict);
            }
        }
    }
}

fn judged(to: SocketAddr, bytes: &[u8]) -> Result<String> {
    // The preface is part of the case.
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Who has judged may have closed before the rest came.
    let _ = (&stream).write_all(bytes);
    Connection { stream }.verdict()
}
