//! Signals that are the command's business.

use std::{
    io,
    task::{Context, Poll, Waker},
};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::cli::{Exit, Failure};

/// What reaches this process and is meant for the command.
pub(super) struct Signals {
    kinds: Vec<(i32, Signal)>,
}

impl Signals {
    /// From here on none of them ends this process: what was made is removed before it ends.
    pub(super) fn install(runtime: &Runtime) -> Result<Self, Failure> {
        let _inside = runtime.enter();
        let numbers = [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ];
        let kinds = numbers
            .into_iter()
            .map(|number| Ok((number, signal(SignalKind::from_raw(number))?)))
            .collect::<io::Result<_>>()
            .map_err(|error| {
                Failure::new(Exit::Failed, "installing signal handlers").because(&error)
            })?;
        Ok(Self { kinds })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// One that has arrived, without waiting.
    pub(super) fn arrived(&mut self) -> Option<i32> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(number) => Some(number),
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<i32> {
        for (number, signal) in &mut self.kinds {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*number);
            }
        }
        Poll::Pending
    }
}
