//! Connections that a client keeps open: one thread for all of them.

use std::{
    collections::HashMap,
    io::{self, Read},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsRawFd;

use crate::Trouble;

/// Those connections, until each gets a byte or ends.
pub(super) struct Held {
    shared: Arc<Shared>,
}

struct Shared {
    epoll: Epoll,
    /// By descriptor.
    streams: Mutex<HashMap<u64, TcpStream>>,
}

impl Held {
    /// With none yet.
    pub(super) fn start() -> Result<Self, Trouble> {
        let failed =
            |error: &dyn std::fmt::Display| Trouble::new("preparing for idle connections", error);
        let shared = Arc::new(Shared {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| failed(&error))?,
            streams: Mutex::default(),
        });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name("held".into())
            .spawn(move || theirs.watch())
            .map_err(|error| failed(&error))?;
        Ok(Self { shared })
    }

    /// Holds one more.
    pub(super) fn hold(&self, stream: TcpStream) -> io::Result<()> {
        let key = stream.as_raw_fd().unsigned_abs().into();
        let mut streams = self.shared.streams();
        // Under the lock, so that its end is not looked for before it is there.
        self.shared
            .epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
        streams.insert(key, stream);
        Ok(())
    }
}

impl Shared {
    fn streams(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut events = vec![EpollEvent::empty(); 256];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    eprintln!("waiting for idle connections: {error}");
                    return;
                }
            };
            let mut streams = self.streams();
            for event in events.iter().take(ready) {
                if let Some(mut stream) = streams.remove(&event.data()) {
                    // Closed on a byte that was not read, it would be reset.
                    let _ = stream.read(&mut [0; 16]);
                }
            }
        }
    }
}
