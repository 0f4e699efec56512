//! Threads that wait in accept().

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Trouble;

/// More connections at once than this wait in the listener's queue.
const MOST: usize = 1024;

/// How many may wait there. The kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A peer that says nothing for so long is gone. Longer than any client of ours is silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes that a thread has for the connection that it serves.
pub(super) const SCRATCH: usize = 64 << 10;

/// Listens at `at`. What is set here, accepted sockets have too, without a system call for each.
pub(super) fn listen(at: SocketAddr) -> Result<TcpListener, Trouble> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_write_timeout(Some(SILENCE))?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| Trouble::new(format!("listening at {at}"), error))
}

/// Serves each connection by `each` in a thread that waited for it. There is one more thread than
/// connections at once have been, so that nothing is made while a load runs that has run before.
/// Comes back only with what makes accept() impossible.
pub(super) fn serve<F>(listener: TcpListener, each: F) -> Trouble
where
    F: Fn(TcpStream, &mut [u8]) + Send + Sync + 'static,
{
    let pool = Arc::new(Pool {
        listener,
        each,
        waiting: AtomicUsize::new(1),
        threads: AtomicUsize::new(1),
    });
    work(&pool)
}

struct Pool<F> {
    listener: TcpListener,
    each: F,
    waiting: AtomicUsize,
    threads: AtomicUsize,
}

fn work<F>(pool: &Arc<Pool<F>>) -> Trouble
where
    F: Fn(TcpStream, &mut [u8]) + Send + Sync + 'static,
{
    let mut scratch = vec![0; SCRATCH];
    loop {
        let stream = match pool.listener.accept() {
            Ok((stream, _)) => stream,
            // The listener has the time limit of what it accepts, and some connections are gone
            // before they are accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => {
                return Trouble::new("accepting a connection", error)
                    .fix("raise the limit of open files (ulimit -Hn)");
            }
        };
        if pool.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            another(pool);
        }
        (pool.each)(stream, &mut scratch);
        pool.waiting.fetch_add(1, Ordering::Relaxed);
    }
}

fn another<F>(pool: &Arc<Pool<F>>)
where
    F: Fn(TcpStream, &mut [u8]) + Send + Sync + 'static,
{
    if pool.threads.fetch_add(1, Ordering::Relaxed) >= MOST {
        pool.threads.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    pool.waiting.fetch_add(1, Ordering::Relaxed);
    let theirs = Arc::clone(pool);
    let made = thread::Builder::new().name("worker".into()).spawn(move || {
        let trouble = work(&theirs);
        eprintln!("{trouble}");
        std::process::exit(1);
    });
    if let Err(error) = made {
        pool.waiting.fetch_sub(1, Ordering::Relaxed);
        pool.threads.fetch_sub(1, Ordering::Relaxed);
        eprintln!("starting another thread: {error}");
    }
}
