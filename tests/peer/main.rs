//! The applications of the tests: each prints one JSON object a line about what it saw, so that
//! a test judges by what an ordinary program on an ordinary socket was told.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program of the tests says what broke by panicking"
)]

use std::process::ExitCode;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

mod bulk;
mod connects;
mod drip;
mod h2;
mod hand_over;
mod hold;
mod knock;
mod many;
mod old_kernel;
mod pattern;
mod proxy;
mod raw;
mod requests;
mod restarts;
mod script;
mod serve;
mod storm;
mod transparent;

/// One application.
#[derive(Parser)]
enum Peer {
    /// Runs steps on client sockets, one after another, and prints what each gave.
    Script(script::Args),
    /// Listens and serves each connection by `--mode`.
    Serve(serve::Args),
    /// Measures connect().
    Connects(connects::Args),
    /// Makes many short connections and checks that each reached its own destination.
    Many(many::Args),
    /// Connects over and over, as somebody who is not let in, and says what came of it.
    Knock(knock::Args),
    /// Runs a server again and again, each time until it has served somebody.
    Restarts(restarts::Args),
    /// Opens many connections, and uses all of them again when a line comes on standard input.
    Hold(hold::Args),
    /// Sends and receives a verified pattern on one connection, both ways at once.
    Bulk(bulk::Args),
    /// Makes connections that half-close, stall and reset by chance, and verifies every byte.
    Storm(storm::Args),
    /// Writes to a reader that does not read, until no more is taken.
    Flood(bulk::FloodArgs),
    /// Sends requests as they are written, whatever is wrong with them, and prints the answers.
    Raw(raw::Args),
    /// Serves HTTP/1.1 and prints each request as it came, or what is wrong with it.
    Requests(requests::Args),
    /// Clients of HTTP that take their time for ever.
    Drip(drip::Args),
    /// Speaks HTTP/2 as RFC 9113 forbids it.
    H2(h2::Args),
    /// Speaks HTTP/2 too much.
    H2Flood(h2::FloodArgs),
    /// Redirects a cgroup to itself and asks each accepted socket for its original destination.
    Proxy(proxy::Args),
    /// A proxy written for iptables that knows nothing of Sidetrack.
    Transparent(transparent::Args),
    /// Runs a command for which one bpf(2) command fails, as on a kernel that lacks it.
    OldKernel(old_kernel::Args),
}

fn main() -> ExitCode {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("read the limit of descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("raise the limit of descriptors");
    match Peer::parse() {
        Peer::Script(args) => script::run(&args),
        Peer::Serve(args) => serve::run(args),
        Peer::Connects(args) => connects::run(&args),
        Peer::Many(args) => many::run(args),
        Peer::Knock(args) => knock::run(&args),
        Peer::Restarts(args) => restarts::run(&args),
        Peer::Hold(args) => hold::run(&args),
        Peer::Bulk(args) => bulk::run(&args),
        Peer::Storm(args) => storm::run(&args),
        Peer::Flood(args) => bulk::flood(&args),
        Peer::Raw(args) => raw::run(&args),
        Peer::Requests(args) => requests::run(&args),
        Peer::Drip(args) => drip::run(&args),
        Peer::H2(args) => h2::run(&args),
        Peer::H2Flood(args) => h2::flood(&args),
        Peer::Proxy(args) => proxy::run(&args),
        Peer::Transparent(args) => transparent::run(&args),
        Peer::OldKernel(args) => old_kernel::run(&args),
    }
    ExitCode::SUCCESS
}

/// Sets one of the options of TCP Fast Open.
#[expect(unsafe_code, reason = "socket2 has none of them")]
fn fast_open(socket: &socket2::Socket, option: i32, value: i32) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the kernel reads an int from `value`, which lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// The name of an error's errno, as C writes it.
fn errno_name(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(raw) => format!("{:?}", nix::errno::Errno::from_raw(raw)),
        None => error.to_string(),
    }
}
