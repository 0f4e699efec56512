//! What a gateway has for its own besides the addresses of interfaces that are up.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_only_the_routes_of_a_gateway_have_for_its_own_is_not_behind_it() {
    let gateway = Gateway::new();
    let b = &gateway.world.b;
    // Addresses that no interface has (AnyIP), also such that are connected from another one.
    let local = ["route", "add", "local"];
    for route in [
        &["10.99.0.128/28", "dev", "lo"][..],
        &["10.99.0.144/28", "dev", "lo", "src", "10.88.0.2"],
        &["fd99::80/124", "dev", "lo"],
    ] {
        b.netns().ip(&[&local, route].concat());
    }
    // An interface that is down. From its second address the first one is connected.
    let netns = b.netns();
    netns.ip(&[
        "link", "add", "spare", "type", "veth", "peer", "name", "end",
    ]);
    for address in ["10.99.0.201/30", "10.99.0.202/30"] {
        netns.ip(&["addr", "add", address, "dev", "spare"]);
    }
    let server = b.serve(&["[::]:7000".parse().unwrap()], &[]);
    let own: Vec<SocketAddr> = [
        "10.99.0.130:7000",
        "10.99.0.150:7000",
        "[fd99::85]:7000",
        "10.99.0.201:7000",
        "10.99.0.202:7000",
    ]
    .map(|at| at.parse().unwrap())
    .to_vec();
    for to in &own {
        // It is there, for the host itself.
        b.script(&[&format!("connect={to}")]).all_ok();
    }
    harness::holds("the host has reached itself", || {
        server.accepted().len() == own.len()
    });
    for to in &own {
        gateway.refuses(*to, "api", "egress-denied");
    }
    assert_eq!(server.accepted().len(), own.len(), "nobody else got there");
}
