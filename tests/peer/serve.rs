//! Servers: what an application that listens sees.

use std::{
    collections::{BTreeSet, HashSet},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    bulk::{exchange, push_until_stuck},
    errno_name,
};

/// See [`crate::Peer::Serve`].
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long, value_enum, default_value = "whoami")]
    mode: Mode,
    /// For `duplex`: bytes to send.
    #[arg(long, default_value_t = 0)]
    bytes: u64,
    /// Print nothing about single connections.
    #[arg(long)]
    quiet: bool,
    /// How the sockets listen.
    #[command(flatten)]
    listener: ListenerArgs,
}

/// What an application may ask of its listening sockets.
#[derive(clap::Args)]
struct ListenerArgs {
    /// With IPV6_V6ONLY, on those at this port.
    #[arg(long)]
    v6_only: Option<u16>,
    /// With SO_REUSEPORT.
    #[arg(long)]
    reuse_port: bool,
    /// With TCP_FASTOPEN.
    #[arg(long)]
    fast_open: bool,
    /// MPTCP sockets.
    #[arg(long)]
    mptcp: bool,
}

impl ListenerArgs {
    fn listen(&self, addr: SocketAddr) -> std::io::Result<TcpListener> {
        let protocol = if self.mptcp {
            Protocol::MPTCP
        } else {
            Protocol::TCP
        };
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(protocol))?;
        socket.set_reuse_address(true)?;
        if self.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if self.v6_only == Some(addr.port()) {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())?;
        if self.fast_open {
            crate::fast_open(&socket, libc::TCP_FASTOPEN, 1024)?;
        }
        socket.listen(1024)?;
        Ok(socket.into())
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    /// Answers each line with the addresses that this server sees, and the line.
    Whoami,
    /// Says the same before it reads anything.
    Greet,
    /// Reads to the end, then says how many bytes came.
    Sink,
    /// Sends `--bytes` of the pattern and verifies what comes, at once.
    Duplex,
    /// Sends to a client that does not read, and reports how much was taken.
    Flood,
    /// The same, and never reads.
    Jam,
    /// Never reads.
    Stall,
    /// Sends each line of standard input to every client, and reads nothing.
    Tell,
    /// Plays the server's end of `peer storm`; `totals` counts in `lines` what ended in order.
    Storm,
    /// Resets the connection after its first line.
    Reset,
}

#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    lines: Mutex<HashSet<String>>,
    told: Mutex<Vec<TcpStream>>,
}

impl Totals {
    /// What each client's socket said to a line.
    fn tell(&self, line: &str) -> Value {
        let told = self.told.lock().expect("lock");
        let results: Vec<String> = told
            .iter()
            .map(|mut stream| match writeln!(stream, "{line}") {
                Ok(()) => "ok".to_owned(),
                Err(error) => errno_name(&error),
            })
            .collect();
        json!({ "event": "told", "line": line, "results": results })
    }

    /// What the lines say before their number.
    fn words(&self) -> BTreeSet<String> {
        let lines = self.lines.lock().expect("lock");
        lines
            .iter()
            .map(|line| {
                line.trim_end_matches(|c: char| c.is_ascii_digit())
                    .to_owned()
            })
            .collect()
    }
}

pub(crate) fn run(args: Args) {
    let args = Arc::new(args);
    let totals = Arc::new(Totals::default());
    for &addr in &args.listen {
        let listener = args.listener.listen(addr).expect("listen");
        println!(
            "{}",
            json!({ "event": "listening", "addr": addr.to_string() })
        );
        let (args, totals) = (args.clone(), totals.clone());
        std::thread::spawn(move || accept(&listener, &args, &totals));
    }
    println!("{}", json!({ "event": "ready" }));
    for line in std::io::stdin().lines() {
        if matches!(args.mode, Mode::Tell) {
            println!("{}", totals.tell(&line.expect("a line")));
            continue;
        }
        println!(
            "{}",
            json!({
                "event": "totals",
                "connections": totals.connections.load(Ordering::Relaxed),
                "lines": totals.lines.lock().expect("lock").len(),
                "words": totals.words(),
            })
        );
    }
    loop {
        std::thread::park();
    }
}

fn accept(listener: &TcpListener, args: &Arc<Args>, totals: &Arc<Totals>) {
    loop {
        let (stream, from) = listener.accept().expect("accept");
        totals.connections.fetch_add(1, Ordering::Relaxed);
        let view = json!({
            "accept": from.to_string(),
            "getpeername": name(stream.peer_addr()),
            "getsockname": name(stream.local_addr()),
        });
        if !args.quiet {
            println!("{}", with(&view, json!({ "event": "accepted" })));
        }
        let (args, totals) = (args.clone(), totals.clone());
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || {
                let end = serve(&stream, &view, &args, &totals);
                if !args.quiet {
                    println!("{}", with(&view, json!({ "event": "ended", "end": end })));
                }
            })
            .expect("start a thread");
    }
}

/// Serves one connection and says how it ended: `eof`, an errno, or more.
fn serve(stream: &TcpStream, view: &Value, args: &Args, totals: &Totals) -> Value {
    let mut out = stream;
    match args.mode {
        Mode::Whoami => lines(stream, view, totals),
        Mode::Greet => {
            if let Err(error) = writeln!(out, "{view}") {
                return json!(errno_name(&error));
            }
            lines(stream, view, totals)
        }
        Mode::Sink => {
            let mut bytes = Vec::new();
            match (&mut &*stream).read_to_end(&mut bytes) {
                Ok(count) => match writeln!(out, "{count}") {
                    Ok(()) => json!({ "bytes": count, "first": hex(&bytes) }),
                    Err(error) => json!(errno_name(&error)),
                },
                Err(error) => json!(errno_name(&error)),
            }
        }
        Mode::Duplex => exchange(stream, args.bytes),
        Mode::Flood => {
            println!("{}", push_until_stuck(stream));
            wait_for_close(stream)
        }
        Mode::Jam => {
            println!("{}", push_until_stuck(stream));
            loop {
                std::thread::park();
            }
        }
        Mode::Stall => loop {
            std::thread::park();
        },
        Mode::Tell => {
            stream.set_nonblocking(true).expect("set O_NONBLOCK");
            let told = stream.try_clone().expect("dup");
            totals.told.lock().expect("lock").push(told);
            println!("{}", json!({ "event": "will tell" }));
            loop {
                std::thread::park();
            }
        }
        Mode::Storm => match crate::storm::serve(stream) {
            Ok(Some(number)) => {
                totals
                    .lines
                    .lock()
                    .expect("lock")
                    .insert(format!("{number:x}"));
                json!("eof")
            }
            Ok(None) => json!("cut"),
            Err(error) => {
                println!(
                    "{}",
                    json!({ "event": "wrong", "error": error.to_string() })
                );
                json!("wrong")
            }
        },
        Mode::Reset => {
            let mut line = String::new();
            let read = BufReader::new(stream).read_line(&mut line);
            SockRef::from(stream)
                .set_linger(Some(std::time::Duration::ZERO))
                .expect("set SO_LINGER");
            json!(read.map_or_else(|error| errno_name(&error), |_| "reset it".to_owned()))
        }
    }
}

fn lines(stream: &TcpStream, view: &Value, totals: &Totals) -> Value {
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        match input.read_line(&mut line) {
            Ok(0) => {
                return json!("eof");
            }
            Ok(_) => {
                let line = line.trim_end().to_owned();
                totals.lines.lock().expect("lock").insert(line.clone());
                // A client that has gone does not make its line unheard.
                let answer = with(view, json!({ "line": line })).to_string() + "\n";
                if let Err(error) = (&mut &*stream).write_all(answer.as_bytes()) {
                    return json!(errno_name(&error));
                }
            }
            Err(error) => return json!(errno_name(&error)),
        }
    }
}

/// Waits until the client, which sends nothing, closes or resets.
fn wait_for_close(stream: &TcpStream) -> Value {
    match (&mut &*stream).read(&mut [0]) {
        Ok(0) => json!("eof"),
        Ok(_) => json!("it spoke"),
        Err(error) => json!(errno_name(&error)),
    }
}

/// The first 28 bytes: a PROXY protocol v2 header of IPv4.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(28)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn name(addr: std::io::Result<SocketAddr>) -> String {
    addr.map_or_else(|error| errno_name(&error), |addr| addr.to_string())
}

fn with(view: &Value, more: Value) -> Value {
    let mut all = view.clone();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}
