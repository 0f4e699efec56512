//! Certificates, trust and revocation that change while a tunnel is idle in its pool: the next
//! connection is judged anew, whichever of the two ends knows of the change.

use std::time::{Duration, Instant};

use harness::{
    Credential, Daemon, Flaw, SHORT_LIFE, World, daemon::Setup, holds, peer::Server, rules,
};
use nix::sys::signal::Signal;

/// Two daemons with a tunnel between them, idle in the pool of `a`.
struct Idle {
    a: Daemon,
    b: Daemon,
    server: Server,
    world: World,
}

fn setup_a(world: &World) -> Setup {
    Setup::new(world, &world.a).with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
}

fn setup_b(world: &World) -> Setup {
    let accept = r#"["tunnel", "mtls"]"#;
    Setup::new(world, &world.b).with(rules::inbound(accept, "spiffe://example.org/a"))
}

impl Idle {
    #[track_caller]
    fn new() -> Self {
        Self::with(|_, a| a, |_, b| b)
    }

    #[track_caller]
    fn with(
        a: impl FnOnce(&World, Setup) -> Setup,
        b: impl FnOnce(&World, Setup) -> Setup,
    ) -> Self {
        let world = World::pair();
        let idle = Self {
            b: b(&world, setup_b(&world)).start(),
            a: a(&world, setup_a(&world)).start(),
            server: world.b.serve(&[world.b.at(7000)], &[]),
            world,
        };
        idle.ask();
        idle.ask();
        idle.carriage_is(2, "tunnel-reused");
        idle
    }

    fn ask(&self) -> harness::peer::Steps {
        let connect = format!("connect={}", self.world.b.at(7000));
        self.world.a.script(&[&connect, "send=hello", "line"])
    }

    #[track_caller]
    fn carriage_is(&self, count: usize, carriage: &str) {
        for daemon in [&self.a, &self.b] {
            let last = daemon.wait_records(count)[count - 1].clone();
            assert_eq!((last.carriage(), last.reason()), (carriage, ""), "{last}");
        }
    }

    /// Reloads with what was written before, and waits until that is in force.
    #[track_caller]
    fn reload(daemon: &mut Daemon) {
        daemon.signal(Signal::SIGHUP);
        daemon.wait_told("READY=1", 2);
    }

    /// The third connection is refused, each end's record says why, and no byte of it arrives.
    #[track_caller]
    fn refuses(&self, of_a: &str, of_b: &str) {
        let steps = self.ask();
        let answered = steps.of("line").unwrap_or_default();
        assert!(!answered.to_string().contains("getsockname"), "{steps:?}");
        let record = self.a.wait_records(3)[2].clone();
        assert_eq!(record.reason(), of_a, "{record}");
        assert_ne!(record.carriage(), "tunnel-reused", "{record}");
        let record = self.b.wait_records(3)[2].clone();
        assert_eq!(record.reason(), of_b, "{record}");
        assert_eq!(self.server.accepted().len(), 2, "the application saw it");
    }

    /// The third connection is carried, by a tunnel of its own.
    #[track_caller]
    fn carries_anew(&self) {
        self.ask().all_ok();
        self.carriage_is(3, "tunnel-new");
    }
}

fn other(world: &World, letter: char) -> Credential {
    world.pki.credential(letter, Flaw::WrongIdentity)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_servers_certificate_that_is_replaced_is_met_by_the_next_connection() {
    let mut idle = Idle::new();
    let other = other(&idle.world, 'b');
    setup_b(&idle.world).credential(other).write();
    Idle::reload(&mut idle.b);
    // In TLS 1.3 it is the client that finds out, and the server reads its alert.
    idle.refuses("wrong-identity", "handshake-failed");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_clients_certificate_that_is_replaced_is_shown_by_the_next_connection() {
    let mut idle = Idle::new();
    let other = other(&idle.world, 'a');
    setup_a(&idle.world).credential(other).write();
    Idle::reload(&mut idle.a);
    idle.refuses("handshake-failed", "not-allowed");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_renewed_certificate_of_either_end_is_used_at_once_and_nothing_is_refused() {
    for of_a in [true, false] {
        let mut idle = Idle::new();
        // The same name, another key and serial number.
        let renewed = |letter| idle.world.pki.credential(letter, Flaw::ShortLived);
        if of_a {
            setup_a(&idle.world).credential(renewed('a')).write();
            Idle::reload(&mut idle.a);
        } else {
            setup_b(&idle.world).credential(renewed('b')).write();
            Idle::reload(&mut idle.b);
        }
        idle.carries_anew();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_revocation_that_only_the_server_knows_refuses_the_next_connection() {
    let mut revoked = None;
    let mut idle = Idle::with(
        |world, a| {
            a.credential(
                revoked
                    .insert(world.pki.credential('a', Flaw::None))
                    .clone(),
            )
        },
        |_, b| b,
    );
    let list = idle.world.pki.revoke(revoked.as_slice());
    setup_b(&idle.world).crl(list).write();
    Idle::reload(&mut idle.b);
    idle.refuses("handshake-failed", "certificate-revoked");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_revocation_that_only_the_client_knows_refuses_the_next_connection() {
    let mut revoked = None;
    let mut idle = Idle::with(
        |_, a| a,
        |world, b| {
            b.credential(
                revoked
                    .insert(world.pki.credential('b', Flaw::None))
                    .clone(),
            )
        },
    );
    let list = idle.world.pki.revoke(revoked.as_slice());
    setup_a(&idle.world).crl(list).write();
    Idle::reload(&mut idle.a);
    idle.refuses("certificate-revoked", "handshake-failed");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_certificate_that_expires_while_its_tunnel_is_idle_is_not_used_again() {
    for of_a in [true, false] {
        let mut issued = Instant::now();
        let mut short = |world: &World, setup: Setup, letter| {
            issued = Instant::now();
            setup.credential(world.pki.credential(letter, Flaw::ShortLived))
        };
        let idle = if of_a {
            Idle::with(|world, a| short(world, a, 'a'), |_, b| b)
        } else {
            Idle::with(|_, a| a, |world, b| short(world, b, 'b'))
        };
        assert!(issued.elapsed() < SHORT_LIFE, "it was idle when it expired");
        // Certificates count whole seconds.
        let expired = SHORT_LIFE + Duration::from_secs(1);
        holds("the certificate has expired", || issued.elapsed() > expired);
        if of_a {
            idle.refuses("handshake-failed", "certificate-expired");
        } else {
            idle.refuses("certificate-expired", "handshake-failed");
        }
    }
}
