//! Which endpoint gets connections while others are held.

use harness::Running;

use super::*;

const PORTS: [u16; 2] = [3001, 3002];

/// A connection that stays open, and to which of the ports it goes.
fn held(world: &World) -> (Running, usize) {
    let connect = format!("connect={}", world.b.at(FAR));
    let mut held = world
        .a
        .peer(&["script", &connect, "send=who", "line", "rest"]);
    let port = held.line("where it goes", |line| {
        PORTS
            .iter()
            .position(|port| line.contains(&format!("127.0.0.1:{port}\\\"")))
    });
    (held, port)
}

/// Each by what would tell it from connections in turn, or by chance: where one endpoint has fewer,
/// all that come go there.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn connections_that_are_held_go_where_there_are_fewest() {
    for balance in ["least-connections", "two-choices"] {
        let world = World::pair();
        let addresses = PORTS.map(local).map(|at| format!("\"{at}\"")).join(", ");
        let daemon = Setup::new(&world, &world.b)
            .with(format!(
                r#"
[upstream.app]
addresses = [{addresses}]
balance = "{balance}"
[[listener]]
name = "front"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
"#
            ))
            .start();
        let _apps = PORTS.map(|port| world.b.serve(&[local(port)], &[]));
        let under_way = |counts: [u64; 2]| {
            let status = daemon.ask("status");
            let endpoints = &status["upstreams"][0]["endpoints"];
            (0..2).all(|index| endpoints[index]["under_way"] == counts[index])
        };
        let mut open: Vec<_> = (0..8).map(|_| held(&world)).collect();
        assert!(under_way([4, 4]), "{balance}: {}", daemon.ask("status"));
        open.retain(|(_, port)| *port == 1);
        holds("those of the first have ended", || under_way([0, 4]));
        let more: Vec<_> = (0..4).map(|_| held(&world)).collect();
        assert!(more.iter().all(|(_, port)| *port == 0), "{balance}");
        assert!(under_way([4, 4]), "{balance}: {}", daemon.ask("status"));
    }
}
