//! Why a daemon does not start, or does not reload.

use std::{io, net::SocketAddr};

use crate::{
    kernel::{KernelError, LoadError},
    policy::PolicyError,
};

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel side cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A listener cannot be bound.
    #[error(
        "binding a listener on the loopback address: {0}; is `lo` up in this network namespace?"
    )]
    Listen(#[source] io::Error),
    /// A listener of the configuration cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The daemon's own namespace cannot be held.
    #[error("opening the daemon's own network namespace: {0}; is /proc mounted?")]
    Namespace(#[source] io::Error),
    /// The gateway's listener cannot be bound.
    #[error("binding the gateway's listener on {at}: {source}; {}", likely(.source))]
    Gateway {
        /// `gateway.listen`
        at: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A listener of the configuration that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("binding the listener {listener:?} on {at}: {source}; {}", likely(.source))]
pub struct BindError {
    /// Its name.
    pub listener: String,
    /// Where it was to be.
    pub at: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// Why nothing can listen at an address.
fn likely(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "low ports take CAP_NET_BIND_SERVICE (in a unit AmbientCapabilities= and \
             CapabilityBoundingSet=), or a sysctl net.ipv4.ip_unprivileged_port_start that is not \
             above the port"
        }
        _ => "is another process there, or the address of another host?",
    }
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is wrong.
    #[error("the configuration is wrong\n{0}")]
    Config(crate::config::ConfigErrors),
    /// What it names is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The kernel did not take the rules.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A listener that is new cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A key that only a restart can change.
    #[error("{0} cannot change while the daemon runs; restart it for that")]
    NeedsRestart(&'static str),
    /// What reads the files has ended before it was done.
    #[error("reading the configuration and what it names: {0}")]
    Read(#[from] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(kind: io::ErrorKind) -> String {
        let error = BindError {
            listener: "front".into(),
            at: ([0, 0, 0, 0], 443).into(),
            source: kind.into(),
        };
        error.to_string()
    }

    #[test]
    fn who_may_not_listen_at_a_low_port_is_told_what_it_takes() {
        let told = bind(io::ErrorKind::PermissionDenied);
        for word in [
            "\"front\" on 0.0.0.0:443",
            "CAP_NET_BIND_SERVICE",
            "net.ipv4.ip_unprivileged_port_start",
        ] {
            assert!(told.contains(word), "no {word} in {told}");
        }
        let told = bind(io::ErrorKind::AddrInUse);
        assert!(told.contains("another process"), "{told}");
    }
}
