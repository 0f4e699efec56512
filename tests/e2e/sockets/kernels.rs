//! Sockets that the kernel connects by itself.

mod alone;

use alone::ConnectProgram;
use harness::{
    Host, World,
    daemon::Setup,
    holds,
    lacking::{has_btf, has_mptcp},
    rules,
};
use sidetrack::kernel::btf::SocketLayout;
use sidetrack_abi::{
    counter::Counter,
    rules::{ACTION_PLAIN, ACTION_TLS},
};

use super::{THEIRS, answered};

/// The port of b to which the kernel of a connects by itself.
const ALSO: u16 = 7500;

/// b tells its clients on port 9000 to connect to another port as well.
fn add_subflows(world: &World) -> harness::peer::Server {
    let (a, b) = (&world.a, &world.b);
    for host in [a, b] {
        let limits = "mptcp limits set subflows 4 add_addr_accepted 4";
        host.netns().ip(&limits.split(' ').collect::<Vec<_>>());
    }
    let server = b.serve(&[b.at(9000)], &["--mptcp"]);
    let endpoint = format!("mptcp endpoint add {} port {ALSO} signal", b.v4());
    b.netns().ip(&endpoint.split(' ').collect::<Vec<_>>());
    server
}

/// A client of port 9000 that stays.
#[track_caller]
fn client(world: &World) -> harness::Running {
    let connect = format!("connect={}", world.b.at(9000));
    let steps = ["mptcp", &connect, "send=1", "line", "pause"];
    answered(&world.a, world.a.apps().path(), &steps)
}

/// An additional subflow of an MPTCP connection is a socket of the kernel's, connected by one of its
/// own threads, and carries an application's bytes: the one kernel client that is no exception.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_subflow_that_the_kernel_adds_to_an_mptcp_connection_does_not_go_past_the_rules() {
    let world = World::pair();
    let (a, b) = (&world.a, &world.b);
    if !has_mptcp(a) {
        return;
    }
    // No rule names 9000, and one names what b tells its clients to connect to as well.
    let _server = add_subflows(&world);
    let daemon = Setup::new(&world, a)
        .with(rules::outbound_mtls("tunnel", THEIRS))
        .start();
    let _client = client(&world);
    let count = |name: &str| daemon.ask("status")["counters"][name].as_u64().unwrap();
    holds("the kernel connects to the other address", || {
        count("redirected") > 0
    });
    assert_eq!((count("kernel_passed"), count("kernel_blocked")), (0, 0));
    assert_eq!(joins_seen_by(b), 0, "none of it arrived");
}

/// Not told that a subflow is one of MPTCP, the program takes it for what it is otherwise: a socket
/// that the kernel connects by itself, as those of NFS, SMB and Ceph are.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_the_kernel_connects_by_itself_is_not_redirected_and_an_application_is_refused() {
    let world = World::pair();
    if !has_mptcp(&world.a) || !has_btf() {
        return;
    }
    let layout = SocketLayout::of_kernel().expect("read the kernel's BTF");
    let blind = SocketLayout {
        is_mptcp_byte: 0,
        ..layout
    };
    let kernel = [Counter::KernelPassed, Counter::KernelBlocked];
    for (layout, action, counted, arrives) in [
        (blind, ACTION_PLAIN, Some(Counter::KernelPassed), true),
        (blind, ACTION_TLS, Some(Counter::KernelBlocked), false),
        // What it does with the true layout: it is an application's, and nobody is there for it.
        (layout, ACTION_PLAIN, None, false),
    ] {
        let world = World::pair();
        let _server = add_subflows(&world);
        let to = world.b.at(ALSO);
        let program = ConnectProgram::attach(world.a.apps(), layout, to, action);
        let connect = format!("connect={to}");
        let said = world.a.script(&["tcp4", &connect]);
        assert_eq!(said.of(&connect), Err("EHOSTDOWN".to_owned()), "{action}");
        assert_eq!(kernel.map(|counter| program.count(counter)), [0, 0]);
        let of_application = program.count(Counter::OtherNamespaceBlocked);
        let _client = client(&world);
        let expected = counted.unwrap_or(Counter::OtherNamespaceBlocked);
        let before = if counted.is_none() { of_application } else { 0 };
        holds("the kernel connects to the other address", || {
            program.count(expected) > before
        });
        if arrives {
            holds("it arrives", || joins_seen_by(&world.b) > 0);
        } else {
            assert_eq!(joins_seen_by(&world.b), 0, "{action}");
        }
        for other in kernel {
            let counted = Some(other) == counted;
            assert_eq!(program.count(other) > 0, counted, "{}", other.label());
        }
    }
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
