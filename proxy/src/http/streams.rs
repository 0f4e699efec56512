//! The streams of an HTTP/2 connection: each is a task, so that one can be ended by itself.

use std::sync::{Arc, OnceLock};

use hyper::rt::Executor;
use tokio::task::AbortHandle;

tokio::task_local! {
    static STREAM: Arc<OnceLock<AbortHandle>>;
}

/// Runs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let handle = Arc::new(OnceLock::new());
        let task = tokio::spawn(STREAM.scope(Arc::clone(&handle), stream));
        let _ = handle.set(task.abort_handle());
    }
}

/// What ends the stream of the calling task; absent in HTTP/1.1, where the connection is the stream.
/// A stream whose task is gone is reset by h2.
#[derive(Clone, Debug)]
pub(super) struct Stream(Option<Arc<OnceLock<AbortHandle>>>);

impl Stream {
    pub(super) fn current() -> Self {
        Self(STREAM.try_with(Arc::clone).ok())
    }

    /// Whether it is the whole connection.
    pub(super) fn is_connection(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it could be ended by itself.
    pub(super) fn end(&self) -> bool {
        let handle = self.0.as_ref().and_then(|handle| handle.get());
        handle.map(AbortHandle::abort).is_some()
    }
}
