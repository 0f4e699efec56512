//! The listeners of the data path: bound first, registered when the rules are in the kernel.

use std::{collections::HashSet, io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{StartError, heartbeat::Heartbeat};
use crate::{
    config::Limits,
    data::DataPath,
    inbound,
    kernel::{Family, KernelError, Redirector, sys},
    outbound,
    socket::{self, Faces},
};

/// One place in the registries: a listener for each direction.
struct Pair {
    family: Family,
    slot: u32,
    outward: TcpListener,
    inward: TcpListener,
}

/// All of them.
pub(super) struct Listeners(Vec<Pair>);

impl Listeners {
    /// Binds `slots` of each family that the namespace has.
    pub(super) fn bind(slots: u32, limits: &Limits) -> Result<Self, StartError> {
        let mut bound = Vec::new();
        for family in [Family::V4, Family::V6] {
            for slot in 0..slots {
                match Pair::bind(family, slot, limits) {
                    Ok(pair) => bound.push(pair),
                    // A namespace without IPv6: its sockets cannot connect over it either.
                    Err(error) if family == Family::V6 && is_family_missing(&error) => {
                        tracing::info!(
                            "no IPv6 in this network namespace; only IPv4 is redirected"
                        );
                        return Ok(Self(bound));
                    }
                    Err(error) => return Err(StartError::Listen(error)),
                }
            }
        }
        Ok(Self(bound))
    }

    /// Where redirected connections go.
    pub(super) fn addresses(&self) -> io::Result<HashSet<SocketAddr>> {
        let pairs = self.0.iter();
        pairs.map(|pair| pair.outward.local_addr()).collect()
    }

    /// Tells the programs of them.
    pub(super) fn register(&self, redirector: &Redirector) -> Result<(), KernelError> {
        for pair in &self.0 {
            redirector.register_outbound(&pair.outward, pair.family, pair.slot)?;
            redirector.register_inbound(&pair.inward, pair.family, pair.slot)?;
        }
        Ok(())
    }

    /// Accepts until `stop` says so.
    pub(super) fn accept(
        self,
        data: &Arc<DataPath>,
        heartbeat: &Heartbeat,
        stop: &watch::Receiver<bool>,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for pair in self.0 {
            let (data, stop) = (Arc::clone(data), stop.clone());
            let turn = heartbeat.turn();
            tasks.spawn(outbound::accept(
                Arc::clone(&data),
                data.namespace.clone(),
                pair.outward,
                stop.clone(),
                turn,
            ));
            let inward = Arc::clone(&data.inward);
            let turn = heartbeat.turn();
            tasks.spawn(inbound::accept(data, inward, pair.inward, stop, turn));
        }
        tasks
    }
}

/// Binds the listener of a gateway.
pub(super) fn at(at: SocketAddr, limits: &Limits) -> Result<TcpListener, StartError> {
    socket::listen_at(at, limits).map_err(|source| StartError::Gateway { at, source })
}

impl Pair {
    fn bind(family: Family, slot: u32, limits: &Limits) -> io::Result<Self> {
        Ok(Self {
            family,
            slot,
            outward: outward(family, limits)?,
            inward: inward(family, limits)?,
        })
    }
}

/// Binds a listener for what applications connect, in this thread's network namespace.
pub(super) fn outward(family: Family, limits: &Limits) -> io::Result<TcpListener> {
    socket::listen_on_loopback(family, Faces::Application, limits)
}

/// Binds a listener for connections from outside, in this thread's network namespace.
pub(super) fn inward(family: Family, limits: &Limits) -> io::Result<TcpListener> {
    let inward = socket::listen_on_loopback(family, Faces::Wire, limits)?;
    // Applications of this host are let in by their cgroup, those of others by their address.
    if let Err(error) = sys::refuse_fast_open(&inward) {
        tracing::debug!(%error, "refusing TCP Fast Open");
    }
    Ok(inward)
}

pub(super) fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
