//! The maps of the per-connection path.

use std::{net::SocketAddr, os::fd::AsRawFd, sync::Arc};

use aya::maps::{MapData, MapError, SkStorage};
use parking_lot::Mutex;
use sidetrack_abi::{
    Endpoint, OwnSocket, Redirected,
    flow::{OWN_EXEMPT, OWN_FORWARD, OWN_HOP},
};

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

/// The data path's view of the kernel: cheap to clone, no lock on the per-connection path.
#[derive(Clone)]
pub struct FlowTable {
    maps: Option<Arc<FlowMaps>>,
}

impl FlowTable {
    pub(super) fn new(maps: Arc<FlowMaps>) -> Self {
        Self { maps: Some(maps) }
    }

    /// Of a daemon that intercepts nothing: no socket was redirected, and none of ours has to be
    /// exempted.
    pub fn of_nothing() -> Self {
        Self { maps: None }
    }

    /// What the client of an accepted socket asked for, by the socket itself.
    ///
    /// # Errors
    /// [`NoOriginal`] if the socket was not redirected here: its connection must be closed.
    pub fn original(&self, accepted: &impl AsRawFd) -> Result<Redirected, NoOriginal> {
        match &self.maps {
            Some(maps) => maps.original(accepted),
            None => Err(NoOriginal::NotRedirected),
        }
    }

    /// Notes, before connect(), that a socket of ours is not to be redirected.
    pub fn exempt(&self, socket: &impl AsRawFd) -> Result<(), KernelError> {
        self.note(socket, OWN_EXEMPT, Endpoint::default())
    }

    /// Notes, before connect(), that a socket of ours connects to an application that is to see the
    /// socket's own address.
    pub fn hop(&self, socket: &impl AsRawFd) -> Result<(), KernelError> {
        self.note(socket, OWN_HOP, Endpoint::default())
    }

    /// Notes, before connect(), that a socket of ours connects to an application for `client`,
    /// whom accept() and getpeername() are to show there.
    pub fn forward(&self, socket: &impl AsRawFd, client: SocketAddr) -> Result<(), KernelError> {
        self.note(socket, OWN_FORWARD, client.into())
    }

    fn note(&self, socket: &impl AsRawFd, kind: u32, client: Endpoint) -> Result<(), KernelError> {
        match &self.maps {
            Some(maps) => maps.note_own(socket, &OwnSocket { kind, client }),
            None => Ok(()),
        }
    }
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
