//! The accept loop.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{BACKLOG, Turn};

/// After accept() failed for want of descriptors or memory: time for some to be freed.
const PAUSE: Duration = Duration::from_millis(20);

/// Hands every connection to `each` until `stop` says so; then those that are in the queue
/// already, so that closing the listener resets nobody who was let in.
pub async fn accept_each(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    turn: Turn,
    mut each: impl FnMut(TcpStream, SocketAddr),
) {
    let mut due = turn.due();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            // Before connections, so that a loop that is never idle is not taken for stuck.
            _ = due.tick() => {
                turn.mark();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => each(stream, peer),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    if let Err(error) = accept_queued(listener, &mut each) {
        tracing::warn!(%error, "accepting the connections that were queued when accepting ended");
    }
}

/// Out of descriptors or memory: the next accept() would fail as well.
fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Asks the kernel itself: the runtime knows of a connection in the queue only once its reactor
/// has seen it, and lets a task accept no more than its budget at a time.
fn accept_queued(
    listener: TcpListener,
    each: &mut impl FnMut(TcpStream, SocketAddr),
) -> io::Result<()> {
    let listener = listener.into_std()?;
    // No more than the queue holds: who connects to the port itself cannot keep this going.
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                each(TcpStream::from_std(stream)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_exhausted(&error) => return Err(error),
            // accept(2) also gives the error of a connection that failed while it was queued; the
            // next may be alive.
            Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::Family,
        socket::{Faces, listen_on_loopback, tests::limits},
    };

    #[tokio::test]
    async fn everybody_in_the_queue_is_accepted_before_the_listener_is_closed() {
        // More than the runtime lets one task accept in one go.
        const QUEUED: usize = 300;
        let listener = listen_on_loopback(Family::V4, Faces::Wire, &limits()).unwrap();
        let to = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..QUEUED)
            .map(|_| std::net::TcpStream::connect(to).unwrap())
            .collect();
        let (stop, stopped) = watch::channel(true);
        let mut accepted = Vec::new();
        let turn = Turn::now(Duration::from_secs(1));
        accept_each(listener, stopped, turn, |stream, peer| {
            accepted.push((stream, peer));
        })
        .await;
        assert_eq!(accepted.len(), clients.len());
        drop(stop);
    }
}
