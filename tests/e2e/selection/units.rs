//! Units that systemd itself starts, where it runs.

use harness::{World, cgroup::Cgroup, daemon::Setup, lacking::has_systemd, peer};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_transient_unit_of_systemd_is_selected_by_its_name_from_its_first_connection_and_no_other_is() {
    if !has_systemd() {
        return;
    }
    let world = World::pair();
    // A dash in a slice's name would be a level.
    let name = world.a.unique().replace('-', "_");
    let slice = format!("{name}.slice");
    let cgroup = Cgroup::create(&slice);
    let rules = format!(
        "[select.web]\ninclude = [{{ unit = \"{name}-web.service\" }}]\n\
         [[outbound]]\nname = \"no\"\nselect = \"web\"\nto = [\"10.88.0.0/24\"]\naction = \"deny\"\n"
    );
    let _daemon = Setup::new(&world, &world.a)
        .intercept(&cgroup)
        .with(rules)
        .start();
    let _server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    let inside = format!("NetworkNamespacePath={}", world.a.netns().path());
    let program = peer::binary().display().to_string();
    // Each is a unit, and a cgroup, that has just appeared.
    for _ in 0..5 {
        for (unit, is_denied) in [("web", true), ("other", false)] {
            let unit = format!("--unit={name}-{unit}.service");
            let slice = format!("--slice={slice}");
            let started = [
                "--quiet",
                "--wait",
                "--pipe",
                "--collect",
                &unit,
                &slice,
                "-p",
                &inside,
                &program,
                "script",
                &connect,
            ];
            let ended = world.a.run("systemd-run", &started).expect_code(0);
            assert!(ended.stdout.contains(&connect), "it ran: {ended}");
            assert_eq!(ended.stdout.contains("EPERM"), is_denied, "{ended}");
        }
    }
}
