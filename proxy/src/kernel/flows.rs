//! The maps of the per-connection path.

use std::os::fd::AsRawFd;

use aya::maps::{MapData, MapError, SkStorage};
use parking_lot::Mutex;
use sidetrack_abi::{OwnSocket, Redirected};

use super::KernelError;

/// Why an accepted socket has no original destination.
#[derive(Debug, thiserror::Error)]
pub enum NoOriginal {
    /// It was not redirected: somebody connected to the proxy's own port.
    #[error("the connection was not redirected")]
    NotRedirected,
    /// The kernel could not be asked.
    #[error("reading the original destination: {0}")]
    Unreadable(#[from] MapError),
}

/// The maps of the per-connection path: only looked up and written by file descriptor.
pub(super) struct FlowMaps {
    accepted: SkStorage<MapData, Redirected>,
    own: Mutex<SkStorage<MapData, OwnSocket>>,
}

impl FlowMaps {
    pub(super) fn new(
        accepted: SkStorage<MapData, Redirected>,
        own: SkStorage<MapData, OwnSocket>,
    ) -> Self {
        Self {
            accepted,
            own: Mutex::new(own),
        }
    }

    pub(super) fn original(&self, accepted: &impl AsRawFd) -> Result<Redirected, NoOriginal> {
        match self.accepted.get(accepted, 0) {
            Ok(redirected) => Ok(redirected),
            Err(MapError::KeyNotFound) => Err(NoOriginal::NotRedirected),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn note_own(
        &self,
        socket: &impl AsRawFd,
        own: &OwnSocket,
    ) -> Result<(), KernelError> {
        // The lock is for aya's `&mut`; it is held for one system call.
        self.own.lock().insert(socket, own, 0).map_err(|error| {
            KernelError::new(
                "noting a socket as the proxy's own",
                "the kernel is out of memory",
                error,
            )
        })
    }
}
