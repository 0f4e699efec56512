//! Daemons that die and stop at random while applications and strangers connect.

use harness::{Capture, Daemon, World, daemon::Setup, holds, load, peer, rules};
use nix::sys::signal::Signal;

/// A daemon of a host, and how to start it again.
struct Victim<'a> {
    daemon: Daemon,
    setup: Box<dyn Fn() -> Setup + 'a>,
}

impl Victim<'_> {
    fn kill(&mut self) {
        self.daemon.signal(Signal::SIGKILL);
        self.daemon.wait_end();
    }

    fn start(&mut self) {
        self.daemon = (self.setup)().start();
    }
}

fn client(world: &World) -> Setup {
    Setup::new(world, &world.a)
        .heartbeat("500ms")
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
}

fn server(world: &World) -> Setup {
    Setup::new(world, &world.b)
        .heartbeat("500ms")
        .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"))
}

fn connect(world: &World) -> Result<(), String> {
    let connect = format!("connect={}", world.b.at(7000));
    world.a.script(&[&connect]).of(&connect).map(drop)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn daemons_that_are_killed_and_stopped_at_random_leak_no_byte_and_come_back() {
    let world = World::pair();
    let mut application = world
        .b
        .serve(&[world.b.at(7000), world.b.at6(7000)], &["--quiet"]);
    let mut b = Victim {
        daemon: server(&world).start(),
        setup: Box::new(|| server(&world)),
    };
    let mut a = Victim {
        daemon: client(&world).start(),
        setup: Box::new(|| client(&world)),
    };
    let capture = Capture::start(&world.a);
    let to = [world.b.at(7000).to_string(), world.b.at6(7000).to_string()];
    let many = ["many", "--to", &to[0], "--to", &to[1], "--parallel", "3"];
    let mut applications = world.a.peer(&[&many[..], &["--word", "secret-"]].concat());
    let mut strangers = world.a.command_in(world.a.daemons().path(), peer::binary());
    strangers.args(many).args(["--word", "stranger-"]);
    let mut strangers = harness::Running::spawn(strangers);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..load(200) {
        let client_side = random.bool();
        let victim = if client_side { &mut a } else { &mut b };
        // Chaos, not proof: the signal is to come at any moment of a connection.
        std::thread::sleep(std::time::Duration::from_micros(random.u64(0..30_000)));
        if random.bool() {
            victim.kill();
            if client_side {
                assert_eq!(connect(&world), Err("EHOSTDOWN".to_owned()), "{round}");
            }
            victim.start();
        } else {
            victim.daemon.signal(Signal::SIGSTOP);
            if client_side && random.u8(0..10) == 0 {
                holds("a stopped daemon is taken for dead", || {
                    connect(&world) == Err("EHOSTDOWN".to_owned())
                });
            }
            victim.daemon.signal(Signal::SIGCONT);
        }
    }
    holds("it all works again", || {
        let connect = format!("connect={}", world.b.at(7000));
        let steps = world.a.script(&[&connect, "send=secret-0", "line"]);
        steps.of(&connect).is_ok() && steps.of("line").is_ok_and(|line| line != "")
    });
    applications.tell("enough");
    strangers.tell("enough");
    let (applications, strangers) = (applications.finish(), strangers.finish());
    let wire = capture.stop();
    wire.expect_encrypted("secret-");
    let report = |ended: &harness::Finished| {
        let last = ended.stdout.lines().last().and_then(peer::parse);
        last.unwrap_or_else(|| panic!("no report from {ended}"))
    };
    println!("{applications}");
    assert!(
        report(&applications)["good"].as_u64() > Some(0),
        "{applications}"
    );
    assert_eq!(report(&strangers)["good"], 0, "{strangers}");
    let failures = report(&applications)["failures"].to_string();
    for wrong in ["another", "reached", "saw"] {
        assert!(!failures.contains(wrong), "{failures}");
    }
    assert_eq!(application.words(), ["secret-"]);
}
