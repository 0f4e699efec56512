//! Clients of HTTP that hold what they were given: heads and bodies that never end, answers that
//! nobody reads.

use std::{
    io::{ErrorKind, Read, Result, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::{errno_name, h2};

/// See [`crate::Peer::Drip`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    count: usize,
    #[arg(long, value_enum)]
    kind: Kind,
    /// For `unread`: what is asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// In HTTP/2, with prior knowledge.
    #[arg(long)]
    http2: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A header, byte by byte.
    Head,
    /// The beginning of a body, and no more.
    Body,
    /// An answer that is not read.
    Unread,
    /// Windows of nothing, opened by nobody.
    ZeroWindow,
}

/// Between two bytes: no server may take so slow a client for a dead one, nor wait for it.
const PACE: Duration = Duration::from_millis(50);

/// Opens them all, says so, and then how each was ended by the server; `unread` ends with its
/// standard input.
pub(crate) fn run(args: &Args) {
    let streams: Vec<_> = (0..args.count)
        .map(|_| open(args).expect("connect and begin"))
        .collect();
    println!("{}", json!({ "event": "all", "count": streams.len() }));
    if args.kind == Kind::Unread {
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .expect("wait for the test");
        return;
    }
    std::thread::scope(|scope| {
        for stream in &streams {
            std::thread::Builder::new()
                .stack_size(128 << 10)
                .spawn_scoped(scope, || println!("{}", until_ended(args, stream)))
                .expect("start a thread");
        }
    });
}

fn open(args: &Args) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(args.to), Type::STREAM, None)?;
    if args.kind == Kind::Unread {
        // What the kernels take is no memory of the daemon, and this machine's is not without end.
        socket.set_recv_buffer_size(16 << 10)?;
    }
    socket.connect(&args.to.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    let path = &args.path;
    let begun = match (args.http2, args.kind) {
        (false, Kind::Head) => format!("GET {path} HTTP/1.1\r\nHost: drip\r\nX-Slow: "),
        (false, Kind::Body) => {
            format!("POST {path} HTTP/1.1\r\nHost: drip\r\nContent-Length: 1000\r\n\r\nbegun")
        }
        (false, Kind::Unread | Kind::ZeroWindow) => {
            format!("GET {path} HTTP/1.1\r\nHost: drip\r\n\r\n")
        }
        (true, Kind::Head) => return stream.write_all(&h2::half_a_head(path)).map(|()| stream),
        (true, Kind::Body) => return stream.write_all(&h2::half_a_body(path)).map(|()| stream),
        (true, Kind::Unread) => {
            return stream
                .write_all(&h2::greedy(path, 1 << 30))
                .map(|()| stream);
        }
        (true, Kind::ZeroWindow) => {
            return stream.write_all(&h2::greedy(path, 0)).map(|()| stream);
        }
    };
    stream.write_all(begun.as_bytes())?;
    Ok(stream)
}

/// Goes on with it until the server has had enough.
fn until_ended(args: &Args, stream: &TcpStream) -> serde_json::Value {
    let begun = Instant::now();
    stream.set_read_timeout(Some(PACE)).expect("set a timeout");
    let end = loop {
        let mut bytes = [0; 4096];
        match (&mut &*stream).read(&mut bytes) {
            Ok(0) => break "eof".to_owned(),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => break errno_name(&error),
        }
        if begun.elapsed() > Duration::from_secs(25) {
            break "never".to_owned();
        }
        if args.kind == Kind::Head && !args.http2 && (&mut &*stream).write_all(b"x").is_err() {
            break "closed".to_owned();
        }
    };
    json!({
        "event": "ended",
        "end": end,
        "milliseconds": begun.elapsed().as_millis() as u64,
    })
}
