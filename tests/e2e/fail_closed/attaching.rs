//! A start that cannot attach what it must, while rules of before are in force.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_start_that_cannot_attach_leaves_the_rules_of_before_in_force() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let setup = || Setup::new(&world, &world.a).with(mtls_and_direct());
    let mut a = setup().start();
    a.signal(Signal::SIGKILL);
    a.wait_end();
    let folder = pins::folder(a.instance());
    let hooks = || bpf::attached_to(world.a.apps().path());
    let (attached, pinned) = (hooks(), pins::below(&folder));
    let to = [world.b.at(7000).to_string(), world.b.at6(7000).to_string()];
    let capture = Capture::start(&world.a);
    let mut client = world
        .a
        .peer(&["many", "--to", &to[0], "--to", &to[1], "--word", SECRET]);
    // All programs but two can be attached there by then.
    let elsewhere = world.a.daemons().child("elsewhere");
    let other = bpf::Foreign::exclusive(elsewhere.path());
    let folder_name = elsewhere.name();
    for _ in 0..3 {
        let ended = setup().intercept(&elsewhere).fails();
        assert_ne!(ended.code(), 0, "{ended}");
        ended.expect_words(&["st_connect4", &folder_name]);
        expect_blocked(&world);
        assert_eq!(
            (hooks(), pins::below(&folder)),
            (attached.clone(), pinned.clone())
        );
        assert_eq!(bpf::attached_to(elsewhere.path()), ["connect4"]);
    }
    client.tell("enough");
    let ended = client.finish();
    let report = ended.stdout.lines().last().and_then(harness::peer::parse);
    let report = report.unwrap_or_else(|| panic!("no report from {ended}"));
    // A start takes connections up to the moment in which it fails, and carries them by its rules.
    assert_eq!(report["good"], 0, "{ended}");
    assert!(
        report["failures"]["connect: EHOSTDOWN"].as_u64() > Some(0),
        "{ended}"
    );
    capture.stop().expect_no_plaintext(SECRET);
    drop(other);
    let _a = setup().intercept(&elsewhere).start();
    // The kernel ends links whose last pin is gone a moment later, in a worker.
    holds("the old attach point is left", || hooks().is_empty());
    assert_eq!(
        bpf::attached_to(elsewhere.path()).len(),
        bpf::AT_THE_ATTACH_POINT
    );
}
