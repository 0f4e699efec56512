//! Sockets that the kernel connects by itself.

use harness::{Host, World, daemon::Setup, holds, rules};

use super::{THEIRS, answered};

/// An additional subflow of an MPTCP connection is a socket of the kernel's, connected by one of its
/// own threads, and carries an application's bytes: the one kernel client that is no exception.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_subflow_that_the_kernel_adds_to_an_mptcp_connection_does_not_go_past_the_rules() {
    let world = World::pair();
    let (a, b) = (&world.a, &world.b);
    if !std::path::Path::new("/proc/sys/net/mptcp").exists() {
        assert_eq!(
            a.script(&["mptcp"]).of("mptcp"),
            Err("EPROTONOSUPPORT".to_owned())
        );
        return;
    }
    for host in [a, b] {
        let limits = [
            "mptcp",
            "limits",
            "set",
            "subflows",
            "4",
            "add_addr_accepted",
            "4",
        ];
        host.netns().ip(&limits);
    }
    // No rule names 9000, and one names what b tells its clients to connect to as well.
    let _server = b.serve(&[b.at(9000)], &["--mptcp"]);
    let also = b.v4().to_string();
    b.netns()
        .ip(&["mptcp", "endpoint", "add", &also, "port", "7500", "signal"]);
    let daemon = Setup::new(&world, a)
        .with(rules::outbound_mtls("tunnel", THEIRS))
        .start();
    let connect = format!("connect={}", b.at(9000));
    let steps = ["mptcp", &connect, "send=1", "line", "pause"];
    let _client = answered(a, a.apps().path(), &steps);
    let count = |name: &str| daemon.ask("status")["counters"][name].as_u64().unwrap();
    holds("the kernel connects to the other address", || {
        count("redirected") > 0
    });
    assert_eq!((count("kernel_passed"), count("kernel_blocked")), (0, 0));
    assert_eq!(joins_seen_by(b), 0, "none of it arrived");
}

/// SYNs with MP_JOIN that came to `host`.
fn joins_seen_by(host: &Host) -> u64 {
    let counted = host.run("cat", &["/proc/net/netstat"]).expect_code(0);
    let lines: Vec<Vec<&str>> = counted
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("MPTcpExt:"))
        .map(|line| line.split_ascii_whitespace().collect())
        .collect();
    let at = lines[0].iter().position(|name| *name == "MPJoinSynRx");
    lines[1][at.expect("the kernel counts them")]
        .parse()
        .expect("a number")
}
