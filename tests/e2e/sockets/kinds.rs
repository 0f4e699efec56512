//! Sockets of kinds that no program sees.

use harness::{
    World,
    daemon::Setup,
    peer::{binary, parse},
    process::Running,
    rules,
};
use serde_json::Value;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_counts_raw_and_packet_sockets_of_governed_processes_and_names_them() {
    let world = World::pair();
    let daemon = Setup::new(&world, &world.a)
        .with(rules::outbound_passthrough())
        .start();
    let of = |what: &str| -> Value {
        let status = daemon.ask("status");
        let kinds = status["not_covered"].as_array().expect("a list");
        let found = kinds.iter().find(|kind| kind["what"] == what);
        found
            .unwrap_or_else(|| panic!("no {what}: {status:#}"))
            .clone()
    };
    assert_eq!(
        (&of("raw")["sockets"], &of("packet")["sockets"]),
        (&0.into(), &0.into())
    );
    let open = |cgroup: &std::path::Path| {
        let mut command = world.a.command_in(cgroup, binary());
        command.args([
            "script", "raw", "slot=1", "packet", "slot=2", "packet", "pause",
        ]);
        let mut running = Running::spawn(command);
        running.line("all are open", |line| {
            let said = parse(line)?;
            assert!(said["errno"].is_null(), "{said}");
            (said["step"] == "slot=2").then_some(())
        });
        running
    };
    let _elsewhere = open(world.a.daemons().path());
    let governed = open(world.a.apps().path());
    for (what, count) in [("raw", 1), ("packet", 2)] {
        let found = of(what);
        assert_eq!(found["sockets"], count, "{found:#}");
        assert_eq!(found["holders"].as_array().map(Vec::len), Some(1));
        assert_eq!(found["holders"][0]["pid"], governed.pid());
        assert_eq!(found["holders"][0]["command"], "peer");
    }
}
