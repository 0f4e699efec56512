//! A third host that only one of the two can reach.

use std::net::SocketAddr;

use crate::{
    host::Host,
    netns::NetNs,
    peer::{self, Server},
};

/// 10.99.0.2 and fd99::2, behind a host that is 10.99.0.1 and fd99::1 to it.
pub struct Beyond {
    netns: NetNs,
    host: Host,
}

impl Beyond {
    /// Makes it, on a wire of its own to `host`.
    pub fn of(host: &Host) -> Self {
        let netns = NetNs::create(format!("{}-beyond", host.unique()));
        let wire = ["type", "veth", "peer", "name", "eth0", "netns"];
        host.netns()
            .ip(&[&["link", "add", "eth1"], &wire[..], &[netns.name()]].concat());
        for (at, device, last) in [(host.netns(), "eth1", 1), (&netns, "eth0", 2)] {
            at.ip(&["addr", "add", &format!("10.99.0.{last}/24"), "dev", device]);
            let v6 = format!("fd99::{last}/64");
            at.ip(&["addr", "add", &v6, "dev", device, "nodad"]);
            at.ip(&["link", "set", device, "up"]);
        }
        Self {
            netns,
            host: host.clone(),
        }
    }

    /// A port of it.
    pub fn at(&self, port: u16) -> SocketAddr {
        ([10, 99, 0, 2], port).into()
    }

    /// A port of it, over IPv6.
    pub fn at6(&self, port: u16) -> SocketAddr {
        ([0xfd99, 0, 0, 0, 0, 0, 0, 2], port).into()
    }

    /// Starts a server there, outside every cgroup that is governed, and waits until it listens.
    #[track_caller]
    pub fn serve(&self, listen: &[SocketAddr]) -> Server {
        let mut command = self.host.command_in(self.host.daemons().path(), "nsenter");
        command
            .arg(format!("--net={}", self.netns.path()))
            .arg("--")
            .arg(peer::binary())
            .arg("serve");
        for at in listen {
            command.arg("--listen").arg(at.to_string());
        }
        Server::start(command)
    }
}
