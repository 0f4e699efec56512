//! The relay, on a thread of its own.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use sidetrack::relay::{Moved, Start, Transport, relay};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::Way;

/// User and system time of the process.
pub(crate) fn cpu_seconds() -> f64 {
    let spent = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = spent.user_time().num_microseconds() + spent.system_time().num_microseconds();
    micros as f64 * 1e-6
}

/// A relay of one connection.
pub(crate) struct Middle {
    address: SocketAddr,
    thread: i32,
}

impl Middle {
    pub(crate) fn start(way: Way, server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(carry(way, listener, server));
        });
        let thread = told.recv().unwrap().as_raw_nonzero().get();
        Self { address, thread }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its thread has used so far. The kernel counts it in nanoseconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let text = fs::read_to_string(path).unwrap();
        let nanos: u64 = text.split(' ').next().unwrap().parse().unwrap();
        nanos as f64 * 1e-9
    }
}

async fn carry(way: Way, listener: TcpListener, server: SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (mut client, _) = listener.accept().await.unwrap();
    let mut server = TcpStream::connect(server).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let mut moved = Moved::default();
    let start = Start::default();
    let end = if way == Way::Copied {
        let mut client = Copied(client);
        relay(&mut client, &mut server, start, None, &mut moved).await
    } else {
        relay(&mut client, &mut server, start, None, &mut moved).await
    };
    end.unwrap();
}

/// A socket that does not tell what it is, so that its bytes are copied.
struct Copied(TcpStream);

impl Transport for Copied {
    fn abort(&mut self) {
        self.0.abort();
    }

    fn is_reset(&self) -> bool {
        self.0.is_reset()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

impl AsyncRead for Copied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Copied {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
