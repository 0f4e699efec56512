//! A host behind a router that masquerades: its own address is not the one that others see.

use harness::{Daemon, Nat, World, daemon::Setup, holds, rules};
use nix::sys::signal::Signal;

const MAY_CLAIM: &str = r#"may_claim = { "spiffe://example.org/a" = ["10.66.0.0/24"] }"#;

fn setup_a(world: &World, wire: &str) -> Setup {
    Setup::new(world, &world.a).with(rules::outbound_mtls(wire, "spiffe://example.org/b"))
}

fn setup_b(world: &World, more: &str) -> Setup {
    let inbound = rules::inbound(r#"["tunnel", "mtls"]"#, "spiffe://example.org/a");
    Setup::new(world, &world.b).with(inbound + more)
}

#[track_caller]
fn reload(daemon: &mut Daemon, setup: &Setup) {
    setup.write();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_told("READY=1", 2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn from_behind_nat_a_tunnel_is_refused_until_its_inner_source_is_granted() {
    let world = World::unwired();
    let _nat = Nat::between(&world);
    let mut b = setup_b(&world, "").start();
    let mut a = setup_a(&world, "tunnel").start();
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let script = [&*connect, "send=hello", "line"];

    let steps = world.a.script(&script);
    assert!(steps.of("line").is_err(), "{steps:?}");
    let record = b.only_record();
    assert_eq!(record.reason(), "source-not-granted", "{record}");
    assert!(record.source().starts_with("10.88.0.1:"), "{record}");
    assert_eq!(a.only_record().reason(), "peer-refused");
    assert_eq!(server.accepted(), Vec::<serde_json::Value>::new());

    reload(&mut b, &setup_b(&world, MAY_CLAIM));
    world.a.script(&script).all_ok();
    let sees = |count: usize, from: &str| {
        holds("it is accepted", || server.accepted().len() == count);
        let accepted = server.accepted()[count - 1].clone();
        for name in ["accept", "getpeername"] {
            let seen = accepted[name].as_str().unwrap();
            assert!(seen.starts_with(from), "{accepted}");
        }
    };
    sees(1, "10.66.0.2:");
    let record = b.wait_records(2)[1].clone();
    assert_eq!(record.reason(), "", "{record}");
    assert!(record.source().starts_with("10.66.0.2:"), "{record}");

    // Who speaks plain TLS claims nothing: the application sees the router.
    reload(&mut a, &setup_a(&world, "tls"));
    world.a.script(&script).all_ok();
    sees(2, "10.88.0.1:");
}
