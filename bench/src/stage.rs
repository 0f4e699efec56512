//! A world for one path: two hosts on one wire, which no other path sees.
//!
//! All stages are made alike, so that what differs between two paths is what stands on them. A host
//! is a network namespace and a cgroup, with leaves for its applications and its proxies: a
//! daemon is attached at its host's cgroup, as it is at the root of a machine of its own.

use std::net::Ipv4Addr;

pub mod certificates;
pub mod group;
pub mod host;
mod leftovers;
pub mod machine;
mod netns;
pub mod process;
pub mod room;

pub use certificates::{Certificates, Credential};
pub use group::Group;
pub use host::Host;
pub use process::{Process, Streams};
pub use room::Room;

pub(crate) use leftovers::detach;
pub(crate) use process::finish;

use crate::Trouble;
use group::Tree;

/// Where the client is.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Where the server is.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// The hosts of one path. Gone with all that runs on them when dropped.
pub struct Stage {
    // First: it ends what still runs on the hosts.
    _tree: Tree,
    /// The client's.
    pub client: Host,
    /// The server's.
    pub server: Host,
    /// One between them, if it was asked for.
    pub router: Option<Host>,
    _room: Room,
}

impl Stage {
    /// Two hosts on one wire, and nothing on them. `name` stands in the paths of their logs.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(room: &Room, name: &str) -> Result<Self, Trouble> {
        let stage = Self::unwired(room, name, &["client", "server"])?;
        let (client, server) = (stage.client.netns(), stage.server.netns());
        client.wire("eth0", server, "eth0")?;
        for (netns, own) in [(client, CLIENT), (server, SERVER)] {
            netns.ip(&["addr", "add", &format!("{own}/24"), "dev", "eth0"])?;
        }
        Ok(stage)
    }

    /// The same with a host between them that forwards, on a wire to each.
    ///
    /// # Errors
    /// What could not be made.
    pub fn with_router(room: &Room, name: &str) -> Result<Self, Trouble> {
        let stage = Self::unwired(room, name, &["client", "server", "router"])?;
        let Some(router) = stage.router.as_ref().map(Host::netns) else {
            return Err(Trouble::new("making a router", "there is none"));
        };
        let ends = [
            (stage.client.netns(), "client", CLIENT, SERVER, "10.99.1.1"),
            (stage.server.netns(), "server", SERVER, CLIENT, "10.99.2.1"),
        ];
        for (netns, device, own, far, gateway) in ends {
            let (own, far) = (own.to_string(), far.to_string());
            netns.wire("eth0", router, device)?;
            netns.ip(&["addr", "add", &own, "dev", "eth0"])?;
            netns.ip(&["route", "add", gateway, "dev", "eth0", "src", &own])?;
            netns.ip(&["route", "add", &far, "via", gateway, "src", &own])?;
            router.ip(&["addr", "add", gateway, "dev", device])?;
            router.ip(&["route", "add", &own, "dev", device])?;
        }
        router.sysctl("net/ipv4/ip_forward", "1")?;
        Ok(stage)
    }

    fn unwired(room: &Room, name: &str, hosts: &[&'static str]) -> Result<Self, Trouble> {
        let _making = room::making();
        let number = room.next_stage();
        let tree = room.tree(&number.to_string())?;
        let mut made = Vec::new();
        for host in hosts {
            made.push(Host::new(room, number, name, host, &tree)?);
        }
        let mut made = made.into_iter();
        match (made.next(), made.next()) {
            (Some(client), Some(server)) => Ok(Self {
                client,
                server,
                router: made.next(),
                _tree: tree,
                _room: room.clone(),
            }),
            _ => Err(Trouble::new(
                "making a stage",
                "it has fewer than two hosts",
            )),
        }
    }
}

/// Whether stages can be made here.
///
/// # Errors
/// What is missing, with the fix.
pub fn available() -> Result<(), Trouble> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Trouble::missing(
            "making network namespaces, cgroups and BPF programs",
            "only root may",
        )
        .fix("run it as root"));
    }
    has("ip", "iproute2")?;
    has("nsenter", "util-linux")?;
    group::root().map(drop)
}

/// Whether `program` is in the path; Debian's `package` has it.
pub(crate) fn has(program: &str, package: &str) -> Result<(), Trouble> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        true => Ok(()),
        false => Err(
            Trouble::missing(format!("looking for {program}"), "it is not in the path")
                .fix(format!("install the package {package}")),
        ),
    }
}
