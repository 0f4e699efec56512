//! A proxy of the kind that was written for iptables: each accepted socket is asked for its
//! original destination by getsockopt(2). It also holds the redirection that sends it connections.

use std::{
    io::BufRead,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;
use sidetrack::{
    config::Config,
    kernel::{
        Facts, Family, FlowTable, Redirector,
        attach::Points,
        cgroup,
        flows::NoOriginal,
        rules::{RuleTables, Scope},
    },
};
use socket2::{SockAddr, SockRef};

use crate::errno_name;

/// See [`crate::Peer::Proxy`].
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; `::` takes both families.
    #[arg(long, required = true)]
    listen: Vec<IpAddr>,
    /// The cgroup whose connections are redirected.
    #[arg(long)]
    governed: PathBuf,
    /// The cgroup of this process.
    #[arg(long)]
    own: PathBuf,
    /// A configuration, as text.
    #[arg(long)]
    config: String,
}

pub(crate) fn run(args: &Args) {
    let own = cgroup::id(&args.own).expect("read the own cgroup's id");
    let redirector = Redirector::load(Facts {
        own_cgroup: own,
        slots: 1,
        tell_namespaces: false,
        // A proxy of this kind has no heartbeat.
        alive_for: Duration::MAX,
        pins: None,
    })
    .unwrap_or_else(|error| panic!("load: {error}"));
    let mut listeners = Vec::new();
    for &ip in &args.listen {
        let listener = TcpListener::bind((ip, 0)).expect("listen");
        let dual_stack = ip.is_ipv6() && ip.is_unspecified();
        for family in [Family::V4, Family::V6] {
            if dual_stack || (family == Family::V4) == ip.is_ipv4() {
                redirector
                    .register_outbound(&listener, family, 0)
                    .unwrap_or_else(|error| panic!("register: {error}"));
            }
        }
        listeners.push(listener);
    }
    let config = Config::parse(&args.config, Path::new("sidetrack.toml"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    redirector
        .activate(RuleTables::compile(&config, Scope::Selections, 1))
        .unwrap_or_else(|error| panic!("activate: {error}"));
    redirector
        .attach(&Points {
            governed: args.governed.clone(),
            proxy: Some(args.own.clone()),
            inbound: false,
            elsewhere: false,
        })
        .unwrap_or_else(|error| panic!("attach: {error}"));
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("know the own port").port())
        .collect();
    println!("{}", json!({ "event": "ready", "ports": ports }));
    serve(&listeners, &redirector.flows());
    drop(listeners);
    println!("{}", json!({ "event": "closed" }));
    std::io::stdin()
        .lock()
        .read_line(&mut String::new())
        .expect("wait for the test");
}

/// Accepts until a line comes on standard input.
fn serve(listeners: &[TcpListener], flows: &FlowTable) {
    let stdin = std::io::stdin();
    loop {
        let mut ready: Vec<PollFd<'_>> = listeners
            .iter()
            .map(AsFd::as_fd)
            .chain([stdin.as_fd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        poll(&mut ready, PollTimeout::NONE).expect("wait for a connection");
        let ready: Vec<bool> = ready
            .iter()
            .map(|fd| fd.any().unwrap_or_default())
            .collect();
        for (listener, _) in listeners.iter().zip(&ready).filter(|(_, ready)| **ready) {
            let (stream, from) = listener.accept().expect("accept");
            report(&stream, from, flows);
        }
        if ready.last() == Some(&true) {
            stdin
                .lock()
                .read_line(&mut String::new())
                .expect("read what the test says");
            return;
        }
    }
}

fn report(stream: &TcpStream, from: SocketAddr, flows: &FlowTable) {
    let socket = SockRef::from(stream);
    let noted = match flows.original(stream) {
        Ok(redirected) => SocketAddr::from(redirected.destination).to_string(),
        Err(NoOriginal::NotRedirected) => "not redirected".to_owned(),
        Err(error) => error.to_string(),
    };
    println!(
        "{}",
        json!({
            "event": "accepted",
            "from": from.to_string(),
            "noted": noted,
            "so_original_dst": said(socket.original_dst_v4()),
            "ip6t_so_original_dst": said(socket.original_dst_v6()),
        })
    );
}

fn said(answer: std::io::Result<SockAddr>) -> String {
    match answer {
        Ok(address) => address.as_socket().map_or_else(
            || "not an internet address".to_owned(),
            |address| address.to_string(),
        ),
        Err(error) => errno_name(&error),
    }
}
