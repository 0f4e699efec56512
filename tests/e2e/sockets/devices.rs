//! Sockets that are bound to a device, under each action.

use harness::{
    Capture, World,
    daemon::Setup,
    proxies::{Proxy, redirect},
};
use serde_json::Value;

use super::{THEIRS, server_at};

const PROXY: [&str; 1] = ["127.0.0.1:12345"];

/// What becomes of such a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// It has a record with this carriage.
    Redirected(&'static str),
    /// It goes as it is, and has none.
    Direct,
    Fails(&'static str),
}

use Comes::{Direct, Fails, Redirected};

/// By port: the action, what comes of it for whoever has CAP_NET_RAW, and for others.
const ACTIONS: [(u16, &str, Comes, Comes); 6] = [
    (7000, "mtls", Redirected("tunnel"), Fails("ENODEV")),
    (7001, "passthrough", Redirected("plain"), Direct),
    (7002, "deny", Fails("EPERM"), Fails("EPERM")),
    (7003, "ignore", Direct, Direct),
    // What a proxy of others connects knows of no device.
    (7004, "redirect", Fails("ENODEV"), Fails("ENODEV")),
    (7005, "redirect, fail open", Direct, Direct),
];

fn rule(action: &str, port: u16, more: &str) -> String {
    format!(
        "[[outbound]]\nname = \"{action}\"\nto = [\"10.88.0.0/24\"]\nports = [\"{port}\"]\n\
         action = \"{action}\"\n{more}\n"
    )
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_bound_to_a_device_gets_what_each_action_says_and_leaks_nothing() {
    let world = World::pair();
    let at = |port| world.b.at(port);
    let (_b, _server) = server_at(&world, &ACTIONS.map(|(port, ..)| at(port)));
    let own = world.a.apps().child("proxy");
    let proxy = Proxy::start(&world.a, &own, &PROXY, &[]);
    let open = "[[outbound]]\nname = \"open\"\nto = [\"10.88.0.0/24\"]\nports = [\"7005\"]\n\
                action = \"redirect\"\nproxy = \"other\"\nfail = \"pass\"\n";
    let mtls = format!("identity = \"own\"\nwire = \"tunnel\"\nexpect = [\"{THEIRS}\"]");
    let a = Setup::new(&world, &world.a)
        .with(rule("mtls", 7000, &mtls))
        .with(rule("passthrough", 7001, ""))
        .with(rule("deny", 7002, ""))
        .with(rule("ignore", 7003, ""))
        .with(redirect("other", &PROXY, "7004"))
        .with(open)
        .start();
    a.wait_proxy("other", "serving");
    for (port, action, with, without) in ACTIONS {
        for (comes, user) in [(with, "uid=0"), (without, "uid=65534")] {
            let secret = format!("{action}-{user}-secret");
            let (connect, send) = (format!("connect={}", at(port)), format!("send={secret}"));
            let before = a.records().len();
            let capture = Capture::start(&world.a);
            let steps = ["tcp4", "device=eth0", user, &connect, &send, "line"];
            let said = world.a.script(&steps);
            let wire = capture.stop();
            let what = format!("{action} as {user}: {said:?}");
            match comes {
                Direct => {
                    assert_eq!(said.answer(0)["line"], secret, "{what}");
                    // One without a device, whose record comes after.
                    let plain = format!("connect={}", at(7001));
                    world.a.script(&["tcp4", &plain, "send=1", "line"]).all_ok();
                    assert_eq!(a.wait_records(before + 1).len(), before + 1, "{what}");
                    assert!(wire.contains(&secret), "{what}");
                }
                Redirected(carriage) => {
                    assert_eq!(said.answer(0)["line"], secret, "{what}");
                    let record = &a.wait_records(before + 1)[before];
                    assert!(record.carriage().starts_with(carriage), "{record}");
                    assert_eq!(wire.contains(&secret), carriage == "plain", "{what}");
                }
                Fails(errno) => {
                    assert_eq!(said.of(&connect), Err(errno.to_owned()), "{what}");
                    a.wait_records(before + 1);
                    assert!(!wire.contains(&secret), "{what}");
                }
            }
        }
    }
    assert_eq!(proxy.asked(), Vec::<String>::new());
    assert_eq!(
        a.ask("sockets"),
        Value::Array(vec![]),
        "all of them have ended"
    );
}
