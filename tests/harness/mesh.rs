//! The main job: a daemon on each host, mutual TLS between them.

use crate::{
    daemon::{Daemon, Setup},
    host::World,
    rules,
};

/// Two hosts with a daemon each: `a`'s applications reach `b`'s through a tunnel.
pub struct Mesh {
    /// Intercepts what `a`'s applications connect.
    pub a: Daemon,
    /// Intercepts what comes to `b`'s applications.
    pub b: Daemon,
    /// The hosts, which outlive the daemons.
    pub world: World,
}

impl Mesh {
    /// Starts both, with a tunnel between them.
    #[track_caller]
    pub fn tunnel() -> Self {
        Self::with("tunnel", "", "")
    }

    /// Starts both with this `wire` between them and more TOML for each.
    #[track_caller]
    pub fn with(wire: &str, more_a: &str, more_b: &str) -> Self {
        Self::on(World::pair(), wire, more_a, more_b)
    }

    /// The same on hosts that were prepared.
    #[track_caller]
    pub fn on(world: World, wire: &str, more_a: &str, more_b: &str) -> Self {
        let b = Setup::new(&world, &world.b)
            .with(rules::inbound(
                r#"["tunnel", "mtls"]"#,
                "spiffe://example.org/a",
            ))
            .with(more_b)
            .start();
        let a = Setup::new(&world, &world.a)
            .with(rules::outbound_mtls(wire, "spiffe://example.org/b"))
            .with(more_a)
            .start();
        Self { a, b, world }
    }
}
