//! The accept loop.

use std::{
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// After accept() failed for want of descriptors or memory: time for some to be freed.
const PAUSE: Duration = Duration::from_millis(20);

/// Hands every connection to `each` until `stop` says so; then those that are in the queue
/// already, so that closing the listener resets nobody who was let in.
pub async fn accept_each(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    mut each: impl FnMut(TcpStream, SocketAddr),
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
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
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, peer))) = listener.poll_accept(&mut context) {
        each(stream, peer);
    }
}
