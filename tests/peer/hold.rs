//! Many connections at the same time.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::errno_name;

/// See [`crate::Peer::Hold`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Destinations, used in turn.
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// Sources, one after the other; without any the kernel chooses.
    #[arg(long)]
    from: Vec<SocketAddr>,
    #[arg(long)]
    count: usize,
}

pub(crate) fn run(args: &Args) {
    let mut open = Vec::new();
    for number in 0..args.count {
        let asked = connect(args, number).and_then(|stream| ask(&stream).map(|()| stream));
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

fn connect(args: &Args, number: usize) -> std::io::Result<TcpStream> {
    let to = args.to[number % args.to.len()];
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if !args.from.is_empty() {
        // As many from each as there are of them, so that each fills its own ports.
        let from = args.from[number * args.from.len() / args.count];
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&from.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket.into())
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
