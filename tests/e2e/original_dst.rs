//! The original destination of an accepted socket: as our own proxy reads it, and as proxies that
//! were written for iptables ask for it.

use std::net::{SocketAddr, TcpListener, TcpStream};

use harness::{Running, World, peer, rules};
use nix::errno::Errno;
use serde_json::Value;
use socket2::SockRef;

/// A proxy on `a` to which the applications of `a` are redirected.
struct Proxy {
    running: Running,
    ports: Vec<u16>,
}

impl Proxy {
    #[track_caller]
    fn start(world: &World, listen: &[&str], rules: &str) -> Self {
        let own = world.a.daemons().path();
        let mut command = world.a.command_in(own, peer::binary());
        command
            .arg("proxy")
            .arg("--governed")
            .arg(world.a.apps().path())
            .arg("--own")
            .arg(own)
            .args(["--config", &format!("version = 1\n{rules}")])
            .args(listen.iter().flat_map(|ip| ["--listen", ip]));
        let mut running = Running::spawn(command);
        let ports = running.line("it redirects", |line| {
            let said = peer::parse(line)?;
            serde_json::from_value(said["ports"].clone()).ok()
        });
        Self { running, ports }
    }

    /// What it learned of the socket whose destination our own proxy reads as `noted`.
    #[track_caller]
    fn accepted(&mut self, noted: &str) -> Value {
        self.running.line(&format!("it accepts {noted}"), |line| {
            peer::parse(line).filter(|said| said["noted"] == noted)
        })
    }

    /// Closes its listeners and lives on, so that its programs stay attached.
    #[track_caller]
    fn close_listeners(&mut self) {
        self.running.tell("close");
        self.running.line("it closed its listeners", |line| {
            (peer::parse(line)?["event"] == "closed").then_some(())
        });
    }
}

fn connect(world: &World, to: SocketAddr) -> Result<Value, String> {
    let step = format!("connect={to}");
    world.a.script(&[&step, "rest"]).of(&step)
}

/// What the kernel answers to both options on sockets of nobody's redirection.
fn kernels_own_answer(listen: &str) -> [String; 2] {
    let listener = TcpListener::bind(format!("{listen}:0")).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let socket = SockRef::from(&accepted);
    [socket.original_dst_v4(), socket.original_dst_v6()].map(|answer| {
        let raw = answer.unwrap_err().raw_os_error().unwrap();
        format!("{:?}", Errno::from_raw(raw))
    })
}

fn answers(said: &Value) -> [&str; 2] {
    ["so_original_dst", "ip6t_so_original_dst"].map(|key| said[key].as_str().unwrap())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_proxy_written_for_iptables_learns_the_original_destination_of_either_family() {
    let world = World::pair();
    let mut proxy = Proxy::start(
        &world,
        &["127.0.0.1", "::1"],
        &rules::outbound_passthrough(),
    );
    let (v4, v6) = (world.b.at(7001).to_string(), world.b.at6(7002).to_string());
    connect(&world, world.b.at(7001)).unwrap();
    connect(&world, world.b.at6(7002)).unwrap();
    // At the other family's level there is nothing to tell: only one of them may answer.
    let [_, not_v6] = kernels_own_answer("127.0.0.1");
    let [not_v4, _] = kernels_own_answer("[::1]");
    assert_eq!(answers(&proxy.accepted(&v4)), [v4.as_str(), &not_v6]);
    assert_eq!(answers(&proxy.accepted(&v6)), [not_v4.as_str(), &v6]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_dual_stack_proxy_learns_the_original_destination_of_both_families_and_of_mapped_addresses() {
    let world = World::pair();
    let mut proxy = Proxy::start(&world, &["::"], &rules::outbound_passthrough());
    let [not_v4, not_v6] = kernels_own_answer("[::1]");
    let v4 = world.b.at(7001).to_string();
    connect(&world, world.b.at(7001)).unwrap();
    assert_eq!(answers(&proxy.accepted(&v4)), [v4.as_str(), &not_v6]);

    let v6 = world.b.at6(7002).to_string();
    connect(&world, world.b.at6(7002)).unwrap();
    assert_eq!(answers(&proxy.accepted(&v6)), [not_v4.as_str(), &v6]);

    // An IPv6 socket that connects to ::ffff:10.88.0.2.
    let mapped = world.b.at(7003).to_string();
    let step = format!("connect={mapped}");
    world.a.script(&["tcp6", &step, "rest"]).all_ok();
    assert_eq!(
        answers(&proxy.accepted(&mapped)),
        [mapped.as_str(), &not_v6]
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_socket_that_was_not_redirected_has_no_original_destination_and_gets_the_kernels_own_answer() {
    let world = World::pair();
    for (listen, target) in [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "127.0.0.1"),
    ] {
        let mut proxy = Proxy::start(&world, &[listen], &rules::outbound_passthrough());
        let to: SocketAddr = format!("{target}:{}", proxy.ports[0]).parse().unwrap();
        connect(&world, to).unwrap();
        let said = proxy.accepted("not redirected");
        let own = match listen {
            "127.0.0.1" => "127.0.0.1",
            _ => "[::1]",
        };
        assert_eq!(answers(&said), kernels_own_answer(own), "{listen}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_a_listener_a_rule_that_blocks_fails_connect_with_ehostdown() {
    let world = World::pair();
    let server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let block = rules::outbound_passthrough() + "fail = \"block\"\n";
    let mut proxy = Proxy::start(&world, &["127.0.0.1", "::1"], &block);
    connect(&world, world.b.at(7000)).unwrap();
    proxy.accepted(&world.b.at(7000).to_string());
    proxy.close_listeners();
    for to in [world.b.at(7000), world.b.at6(7000)] {
        assert_eq!(connect(&world, to), Err("EHOSTDOWN".to_owned()), "{to}");
    }
    assert_eq!(server.accepted().len(), 0, "the application saw nobody");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_a_listener_a_rule_that_passes_lets_the_connection_go_direct() {
    let world = World::pair();
    let _server = world.b.serve(&[world.b.at(7000), world.b.at6(7000)], &[]);
    let pass = rules::outbound_passthrough() + "fail = \"pass\"\n";
    let mut proxy = Proxy::start(&world, &["127.0.0.1", "::1"], &pass);
    connect(&world, world.b.at(7000)).unwrap();
    proxy.accepted(&world.b.at(7000).to_string());
    proxy.close_listeners();
    for to in [world.b.at(7000), world.b.at6(7000)] {
        let step = format!("connect={to}");
        let steps = world.a.script(&[&step, "send=direct", "line"]).all_ok();
        assert_eq!(steps.answer(0)["line"], "direct", "{to}");
    }
}
