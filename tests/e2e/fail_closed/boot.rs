//! The guard before the network is up.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_guard_before_the_network_is_up_blocks_the_first_process_after_it() {
    let world = World::unwired();
    let inbound = rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a");
    let (a, b) = (
        Setup::new(&world, &world.a).with(mtls_and_direct()),
        Setup::new(&world, &world.b).with(&inbound),
    );
    for (host, setup) in [(&world.a, &a), (&world.b, &b)] {
        host.netns().ip(&["link", "set", "lo", "down"]);
        setup.guard().expect_code(0);
        host.netns().ip(&["link", "set", "lo", "up"]);
    }
    world.wire();
    let listen = [world.b.at(7000), world.b.at6(7000), world.b.at(8000)];
    let mut server = world.b.serve(&listen, &[]);
    let capture = Capture::start(&world.a);
    let v6 = format!("connect={}", world.b.at6(7000));
    let send = format!("send={SECRET}");
    for _ in 0..5 {
        expect_blocked(&world);
        let said = world.a.script(&[&v6, &send, "line"]);
        assert_eq!(said.of(&v6), Err("EHOSTDOWN".to_owned()));
        assert!(looks_closed(&world), "to strangers");
        let said = stranger(&world, &[&v6]);
        assert_eq!(said.of(&v6), Err("ECONNREFUSED".to_owned()));
    }
    capture.stop().expect_no_plaintext(SECRET);
    assert_eq!(server.totals(), (0, 0));
    ask(&world, 8000).all_ok();
    let _daemons = [a, b].map(Setup::start);
    ask(&world, 7000).all_ok();
    world.a.script(&[&v6, &send, "line"]).all_ok();
    expect_no_answer(&world);
}
