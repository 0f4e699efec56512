//! A transparent proxy as people write them for iptables, which knows nothing of Sidetrack: it asks
//! each accepted socket for its original destination, connects there and copies both ways.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use serde_json::json;
use socket2::SockRef;

use crate::errno_name;

/// See [`crate::Peer::Transparent`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen.
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// A command to start beside it, as a child that has the listening sockets no more.
    #[arg(long)]
    child: Option<String>,
}

pub(crate) fn run(args: &Args) {
    let listeners: Vec<TcpListener> = args
        .listen
        .iter()
        .map(|at| TcpListener::bind(at).expect("listen"))
        .collect();
    if let Some(child) = &args.child {
        let mut child = Command::new(child)
            .arg("inf")
            .spawn()
            .expect("start a child");
        thread::spawn(move || child.wait());
    }
    println!("{}", json!({ "event": "ready" }));
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                for stream in listener.incoming() {
                    let stream = stream.expect("accept");
                    thread::spawn(move || serve(&stream));
                }
            });
        }
    });
}

fn serve(client: &TcpStream) {
    let socket = SockRef::from(client);
    let v4 = client
        .local_addr()
        .expect("the own address")
        .ip()
        .to_canonical()
        .is_ipv4();
    let asked = if v4 {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let destination = match asked {
        Ok(address) => address.as_socket().expect("an internet address"),
        Err(error) => {
            println!(
                "{}",
                json!({ "event": "accepted", "errno": errno_name(&error) })
            );
            return;
        }
    };
    println!(
        "{}",
        json!({ "event": "accepted", "destination": destination.to_string() })
    );
    // A dead upstream is the client's to see: the connection closes.
    let Ok(server) = TcpStream::connect(destination) else {
        return;
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ended_by_either = io::copy(&mut from, &mut to);
    let _may_be_closed = to.shutdown(Shutdown::Write);
}
