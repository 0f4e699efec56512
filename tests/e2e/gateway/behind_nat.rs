//! Hosts whose own address is not the one that their gateway sees.

use harness::Nat;

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_gateway_serves_a_host_behind_nat_and_records_its_inner_address_if_that_is_granted() {
    let world = World::unwired();
    let _nat = Nat::between(&world);
    let address = format!("\"{}\"", world.b.at(15443));
    let (a, b) = (setup_a(&world, &address), setup_b(&world, &egress(A)));
    let mut gateway = Gateway::with(a, b, world);
    let to = gateway.beyond.at(7000);
    let _server = gateway.beyond.serve(&[to]);
    let script = [&*format!("connect={to}"), "send=hello", "line"];
    let reaches = |gateway: &Gateway, count: usize, source: &str| {
        gateway.world.a.script(&script).all_ok();
        let record = gateway.b.wait_records(count)[count - 1].clone();
        assert_eq!(record.reason(), "", "{record}");
        assert!(record.source().starts_with(source), "{record}");
    };
    reaches(&gateway, 1, "10.88.0.1:");
    let granted = format!("may_claim = {{ {A:?} = [\"10.66.0.0/24\"] }}\n");
    setup_b(&gateway.world, &(egress(A) + &granted)).write();
    gateway.b.signal(Signal::SIGHUP);
    gateway.b.wait_told("READY=1", 2);
    reaches(&gateway, 2, "10.66.0.2:");
}
