//! Daemons that die and stop at random while applications and strangers connect.

use std::time::{Duration, Instant};

use harness::{
    Capture, Daemon, Finished, Running, World, daemon::Setup, holds, holds_within, load, peer,
    peer::Server, rules,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// `daemon.heartbeat`, and what a busy machine may need beyond it until a probe says so.
const HEARTBEAT: &str = "500ms";
const TAKEN_FOR_DEAD: Duration = Duration::from_millis(500 + 3_000);

/// Connections at a time, of applications and of strangers.
const PARALLEL: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn setup(self, world: &World) -> Setup {
        match self {
            Self::Client => Setup::new(world, &world.a)
                .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b")),
            Self::Server => Setup::new(world, &world.b)
                .with(rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a")),
        }
        .heartbeat(HEARTBEAT)
    }

    /// Whether connections get the fail mode: applications' connects that of their rule, and
    /// strangers the impression of a closed port.
    fn is_taken_for_dead(self, world: &World) -> bool {
        let connect = format!("connect={}", world.b.at(7000));
        let (cgroup, errno) = match self {
            Self::Client => (world.a.apps(), "EHOSTDOWN"),
            Self::Server => (world.a.daemons(), "ECONNREFUSED"),
        };
        let steps = world.a.script_in(cgroup.path(), &[&connect]);
        steps.of(&connect).map(drop) == Err(errno.to_owned())
    }
}

/// What happens to a daemon.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and again while the next one starts, at any step of taking over the pins.
    KillAtStart,
    /// SIGSTOP, and SIGCONT at once.
    Stop,
    /// SIGSTOP until it is taken for dead.
    Hold,
}

impl Blow {
    fn random(random: &mut fastrand::Rng) -> Self {
        match random.u8(0..20) {
            0..6 => Self::Kill,
            6..9 => Self::KillAtStart,
            9..17 => Self::Stop,
            _ => Self::Hold,
        }
    }
}

/// A daemon of a host.
struct Victim<'a> {
    world: &'a World,
    side: Side,
    daemon: Daemon,
    /// How long its last start took.
    starts: Duration,
}

impl<'a> Victim<'a> {
    fn new(world: &'a World, side: Side) -> Self {
        let begun = Instant::now();
        Self {
            world,
            side,
            daemon: side.setup(world).start(),
            starts: begun.elapsed(),
        }
    }

    fn suffer(&mut self, blow: Blow, random: &mut fastrand::Rng) {
        match blow {
            Blow::Kill => {
                self.kill();
                *self = Self::new(self.world, self.side);
            }
            Blow::KillAtStart => {
                self.kill();
                let starting = Running::spawn(self.side.setup(self.world).command());
                // Chaos, not proof, as in the storm itself.
                std::thread::sleep(self.starts.mul_f64(random.f64()));
                starting.signal(Signal::SIGKILL);
                starting.finish();
                self.expect_dead();
                *self = Self::new(self.world, self.side);
            }
            Blow::Stop => {
                self.daemon.signal(Signal::SIGSTOP);
                self.daemon.signal(Signal::SIGCONT);
            }
            Blow::Hold => {
                self.daemon.suspend();
                holds_within(TAKEN_FOR_DEAD, "a stopped daemon is taken for dead", || {
                    self.side.is_taken_for_dead(self.world)
                });
                self.expect_dead();
                self.daemon.signal(Signal::SIGCONT);
            }
        }
    }

    fn kill(&mut self) {
        self.daemon.signal(Signal::SIGKILL);
        self.daemon.wait_end();
        self.expect_dead();
    }

    #[track_caller]
    fn expect_dead(&self) {
        assert!(self.side.is_taken_for_dead(self.world), "{:?}", self.side);
    }
}

/// Waits until new connections of the applications come through.
#[track_caller]
fn expect_progress(application: &mut Server, after: &str) {
    // As many as there are at a time may have been on their way before.
    let due = application.totals().1 + PARALLEL;
    let what = format!("applications get through after {after}");
    holds(&what, || application.totals().1 > due);
}

fn report(ended: &Finished) -> Value {
    let last = ended.stdout.lines().last().and_then(peer::parse);
    last.unwrap_or_else(|| panic!("no report from {ended}"))
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn daemons_that_are_killed_and_stopped_at_random_leak_no_byte_and_come_back() {
    let world = World::pair();
    let mut application = world
        .b
        .serve(&[world.b.at(7000), world.b.at6(7000)], &["--quiet"]);
    let mut victims = [Side::Server, Side::Client].map(|side| Victim::new(&world, side));
    let capture = Capture::start(&world.a);
    let to = [world.b.at(7000).to_string(), world.b.at6(7000).to_string()];
    let parallel = PARALLEL.to_string();
    let many = [
        "many",
        "--to",
        &to[0],
        "--to",
        &to[1],
        "--parallel",
        &parallel,
    ];
    let mut applications = world.a.peer(&[&many[..], &["--word", "secret-"]].concat());
    let mut strangers = world.a.command_in(world.a.daemons().path(), peer::binary());
    strangers.args(many).args(["--word", "stranger-"]);
    let mut strangers = Running::spawn(strangers);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..load(200) {
        let victim = &mut victims[random.usize(0..2)];
        // Chaos, not proof: the signal is to come at any moment of a connection.
        std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
        let blow = Blow::random(&mut random);
        let round = format!("round {round}, {blow:?} of the {:?}", victim.side);
        println!("{round}");
        victim.suffer(blow, &mut random);
        // Some of them come while the one before is not over.
        if random.u8(0..4) > 0 {
            expect_progress(&mut application, &round);
        }
    }
    expect_progress(&mut application, "all of it");
    applications.tell("enough");
    strangers.tell("enough");
    let (applications, strangers) = (applications.finish(), strangers.finish());
    let wire = capture.stop();
    wire.expect_encrypted("secret-");
    println!("{applications}");
    let (good, failures) = (
        &report(&applications)["good"],
        &report(&applications)["failures"],
    );
    assert!(good.as_u64() > Some(0), "{applications}");
    for wrong in ["another", "reached", "saw"] {
        assert!(!failures.to_string().contains(wrong), "{failures}");
    }
    assert_eq!(report(&strangers)["good"], 0, "{strangers}");
    assert_eq!(application.words(), ["secret-"]);
}
