//! A router that masquerades, between the two hosts.

use std::process::Command;

use crate::{host::World, netns::NetNs};

/// 10.66.0.1 to `a`, which is 10.66.0.2 behind it, and 10.88.0.1 to `b`.
pub struct Nat {
    netns: NetNs,
}

impl Nat {
    /// Joins the hosts of a world that is not wired. `b` has no route to `a`.
    #[track_caller]
    pub fn between(world: &World) -> Self {
        let made = Self {
            netns: NetNs::create(format!("{}-nat", world.a.unique())),
        };
        let Self { netns } = &made;
        for (name, host) in [("inner", &world.a), ("outer", &world.b)] {
            let far = host.netns().name();
            let wire = ["type", "veth", "peer", "name", "eth0", "netns", far];
            netns.ip(&[&["link", "add", name], &wire[..]].concat());
        }
        for (at, device, address) in [
            (netns, "inner", "10.66.0.1/24"),
            (netns, "outer", "10.88.0.1/24"),
            (world.a.netns(), "eth0", "10.66.0.2/24"),
        ] {
            at.ip(&["addr", "add", address, "dev", device]);
            at.ip(&["link", "set", device, "up"]);
        }
        world.b.configure_wire();
        let behind = world.a.netns();
        behind.ip(&["route", "add", "default", "via", "10.66.0.1"]);
        made.run("echo 1 > /proc/sys/net/ipv4/ip_forward");
        made.run("iptables -t nat -A POSTROUTING -o outer -j MASQUERADE");
        made
    }

    #[track_caller]
    fn run(&self, script: &str) {
        let inside = format!("--net={}", self.netns.path());
        let status = Command::new("nsenter")
            .args([&inside, "--", "sh", "-c", script])
            .status()
            .expect("run nsenter");
        assert!(status.success(), "{script}: {status}");
    }
}
