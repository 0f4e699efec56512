//! A thousand connections whose readers have stopped: what the daemons hold is bounded by what
//! ARCHITECTURE.md says of one stalled direction.

use harness::{Daemon, Host, Mesh, World, holds, load};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Of one connection without a byte in flight: its tasks, two sockets' state, one TLS session.
const CONNECTION: u64 = 48 * KIB;
/// Where bytes go into TLS: what one write took and the network has not, with its overhead.
const INTO_TLS: u64 = 72 * KIB;
/// Where bytes come out of TLS: one buffer, a record that was decrypted and one that was not.
const OUT_OF_TLS: u64 = 104 * KIB;
/// The few of the process that may be of the largest size, and what is kept for reuse.
const PROCESS: u64 = 48 * MIB;

/// Who writes to readers that have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stalled {
    Up,
    Down,
    Both,
}

impl Stalled {
    /// What the daemons of `a` and `b` may hold for one connection.
    fn bounds(self) -> (u64, u64) {
        let (a, b) = match self {
            Self::Up => (INTO_TLS, OUT_OF_TLS),
            Self::Down => (OUT_OF_TLS, INTO_TLS),
            Self::Both => (INTO_TLS + OUT_OF_TLS, INTO_TLS + OUT_OF_TLS),
        };
        (CONNECTION + a, CONNECTION + b)
    }
}

/// The kernel's buffers are no memory of the daemons, but with those of a thousand connections
/// at full size this machine's would be at an end.
fn with_small_socket_buffers(world: World) -> World {
    for host in [&world.a, &world.b] {
        host.sysctl("net/ipv4/tcp_rmem", "4096 16384 65536");
        host.sysctl("net/ipv4/tcp_wmem", "4096 16384 65536");
    }
    world
}

#[track_caller]
fn memory_is_bounded(wire: &str, stalled: Stalled) {
    let world = with_small_socket_buffers(World::pair());
    let mut mesh = Mesh::on(world, wire, "", "");
    let (a, b) = (mesh.world.a.clone(), mesh.world.b.clone());
    let count = load(1_000);
    let mode = match stalled {
        Stalled::Up => "stall",
        Stalled::Down => "flood",
        Stalled::Both => "jam",
    };
    let server = b.serve(&[b.at(7000)], &["--mode", mode, "--quiet"]);
    let before = (mesh.a.memory(), mesh.b.memory());
    let mut client = flood(&a, b.at(7000).to_string(), count, stalled == Stalled::Down);
    client.line("all are stuck", |line| {
        harness::peer::parse(line).filter(|said| said["event"] == "all")
    });
    if stalled != Stalled::Up {
        holds("the server is stuck on each", || {
            server.events("flooded").len() as u64 == count
        });
        let stuck = |said: &serde_json::Value| said["end"] == "stuck";
        assert!(server.events("flooded").iter().all(stuck));
    }
    if stalled != Stalled::Down {
        let said = client.stdout();
        let stuck = said.iter().filter(|line| line.contains("\"stuck\""));
        assert_eq!(stuck.count() as u64, count, "each writer is stopped");
    }
    assert_eq!(mesh.a.holdings().connections as u64, count);
    let (of_a, of_b) = stalled.bounds();
    let grown = [
        grown_within(&mut mesh.a, before.0, count, of_a),
        grown_within(&mut mesh.b, before.1, count, of_b),
    ];
    println!(
        "{wire}, stalled {stalled:?}: {count} connections, {} and {} KiB each in the daemons of a and b",
        grown[0] / KIB / count,
        grown[1] / KIB / count
    );
    client.tell("reset");
    mesh.a.wait_records(count as usize);
    mesh.b.wait_records(count as usize);
}

fn flood(host: &Host, to: String, count: u64, silent: bool) -> harness::Running {
    let count = count.to_string();
    let mut words = vec!["flood", "--to", &to, "--count", &count];
    words.extend(silent.then_some("--silent"));
    host.peer(&words)
}

#[track_caller]
fn grown_within(daemon: &mut Daemon, before: u64, count: u64, each: u64) -> u64 {
    let grown = daemon.memory().saturating_sub(before);
    let bound = count * each + PROCESS;
    assert!(
        grown < bound,
        "{} grew by {} KiB, more than {} KiB",
        daemon.instance(),
        grown / KIB,
        bound / KIB
    );
    grown
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_servers_that_do_not_read_bound_the_memory_of_both_daemons() {
    memory_is_bounded("tunnel", Stalled::Up);
    memory_is_bounded("tls", Stalled::Up);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_clients_that_do_not_read_bound_the_memory_of_both_daemons() {
    memory_is_bounded("tunnel", Stalled::Down);
    memory_is_bounded("tls", Stalled::Down);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_thousand_connections_on_which_nobody_reads_bound_the_memory_of_both_daemons() {
    memory_is_bounded("tunnel", Stalled::Both);
    memory_is_bounded("tls", Stalled::Both);
}
