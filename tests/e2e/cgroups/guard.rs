//! Cgroups that appear while the guard alone is in force.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn with_the_guard_alone_a_cgroup_that_appears_is_blocked_and_then_served_by_the_daemon() {
    let world = World::pair();
    let [a, b] = setups(&world, "");
    let _b = b.start();
    a.guard().expect_code(0);
    let mut server = world.b.serve(&[world.b.at(7000), world.b.at(9000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let elsewhere = format!("connect={}", world.b.at(9000));
    let send = format!("send={SECRET}");
    let capture = Capture::start(&world.a);
    let blocked = Err("EHOSTDOWN".to_owned());
    let first_connection =
        |cgroup: &Cgroup| last_step(&world.a, cgroup.path(), &["tcp4", &connect]);
    for round in 0..load(50) {
        let svc = world.a.apps().child("svc");
        assert_eq!(first_connection(&svc), blocked, "round {round}");
        let worker = svc.child("worker");
        assert_eq!(first_connection(&worker), blocked, "round {round}");
        // Nobody tells the kernel that no rule is about this one.
        let beside = world.a.apps().child("beside");
        assert_eq!(first_connection(&beside), blocked, "round {round}");
        let direct = last_step(&world.a, svc.path(), &["tcp4", &elsewhere]);
        assert_eq!(direct, Ok(()), "round {round}: no rule is about this");
    }
    let svc = world.a.apps().child("svc");
    let beside = world.a.apps().child("beside");
    assert_eq!(first_connection(&svc), blocked);
    assert_eq!(server.totals().1, 0, "no line arrived");
    let a = a.start();
    let steps = [connect.as_str(), &send, "line"];
    assert_eq!(last_step(&world.a, svc.path(), &steps), Ok(()));
    let through = |count: usize| {
        let records = a.wait_for_records("what was let through", |records| {
            records
                .iter()
                .filter(|record| record.reason().is_empty())
                .count()
                >= count
        });
        let (through, refused): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| record.reason().is_empty());
        for record in refused {
            assert_eq!(
                record.reason(),
                "no-listener",
                "from before the daemon: {record}"
            );
        }
        through
    };
    for record in through(1) {
        assert_eq!(
            (record.rule(), record.own_identity()),
            ("out", OURS),
            "{record}"
        );
    }
    capture.stop().expect_encrypted(SECRET);
    assert_eq!(last_step(&world.a, beside.path(), &steps), Ok(()), "direct");
    assert_eq!(last_step(&world.a, svc.path(), &steps), Ok(()));
    assert_eq!(through(2).len(), 2, "what is beside it goes direct");
}
