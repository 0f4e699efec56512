//! What an application answers to the proxy's hop stays on its host, whatever happens to the
//! routes: the wire is captured, and the host has a default route by which it would leave.

use harness::{
    Capture, Daemon, Host, Mesh, Running, World, daemon::Setup, holds, peer, process::Finished,
    rules, sidetrack_bin,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Two connections, one of each family, to an application that says what it is told to.
struct Talk {
    host: Host,
    application: Running,
    client: Running,
    capture: Capture,
}

impl Talk {
    #[track_caller]
    fn begin(world: &World, mut application: Running) -> Self {
        let (a, b) = (&world.a, world.b.clone());
        application.line("it listens", |line| {
            (peer::parse(line)?["event"] == "ready").then_some(())
        });
        let capture = Capture::start(&b);
        let (to4, to6) = (
            format!("connect={}", b.at(7000)),
            format!("connect={}", b.at6(7000)),
        );
        // `slot=1 line` before `slot=0`: whoever has the second line has had the first.
        let client = a.peer(&[
            "script", "slot=0", &to4, "slot=1", &to6, "line", "slot=0", "line", "slot=1", "line",
            "slot=0", "line", "pause",
        ]);
        let mut talk = Self {
            host: b,
            application,
            client,
            capture,
        };
        holds("both connections are there", || {
            talk.events("will tell").len() == 2
        });
        // Both ends have seen bytes of the connection: it is the routes that are on trial.
        talk.tell("opening");
        talk.heard("opening");
        talk
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.application.stdout();
        lines
            .iter()
            .filter_map(|line| peer::parse(line))
            .filter(|line| line["event"] == name)
            .collect()
    }

    /// Has the application say it on both connections; what its sockets said to that.
    #[track_caller]
    fn tell(&mut self, words: &str) -> Vec<Value> {
        let before = self.events("told").len();
        self.application.tell(words);
        holds("it is told", || self.events("told").len() > before);
        let told = self.events("told").swap_remove(before);
        told["results"].as_array().expect("a list").clone()
    }

    /// Waits until the client has read it on both.
    #[track_caller]
    fn heard(&self, words: &str) {
        holds(&format!("the client has twice read {words}"), || {
            let lines = self.client.stdout();
            let lines = lines.iter().filter_map(|line| peer::parse(line));
            let heard = |line: &Value| line["ok"].as_str().is_some_and(|ok| ok.trim() == words);
            lines.filter(heard).count() == 2
        });
    }

    /// Waits until both sockets of the application are in this state, as ss(8) names it.
    #[track_caller]
    fn sockets_are(&self, state: &str) {
        holds(&format!("both sockets are in {state}"), || {
            let args = ["-Htn", "state", state, "sport", "=", ":7000"];
            let listed = self.host.run("ss", &args).expect_code(0).stdout;
            let peers = ["254.77.77.", "[100::5349:4445:"];
            peers.iter().all(|peer| listed.contains(peer))
        });
    }

    /// Ends both, and looks at the wire.
    #[track_caller]
    fn expect_off_the_wire(self, said: &[&str]) {
        let wire = self.capture.stop();
        for words in said {
            wire.expect_no_plaintext(words);
        }
    }
}

/// Whether there are routes of the hop in `table`, of IPv4 and IPv6.
fn routes(host: &Host, table: &str) -> (bool, bool) {
    let v4 = host.netns().ip(&["route", "show", "table", table]);
    let v6 = host.netns().ip(&["-6", "route", "show", "table", table]);
    (
        v4.contains("254.77.77.0/24"),
        v6.contains("100::5349:4445:0:0/96"),
    )
}

fn flush(host: &Host, table: &str) {
    for [family, prefix] in [["-4", "254.77.77.0/24"], ["-6", "100::5349:4445:0:0/96"]] {
        host.netns()
            .ip(&[family, "route", "flush", "table", table, prefix]);
    }
}

fn world() -> World {
    let world = World::pair();
    let netns = world.b.netns();
    netns.ip(&["route", "add", "default", "via", "10.88.0.1"]);
    netns.ip(&["-6", "route", "add", "default", "via", "fd88::1"]);
    world
}

fn serve(host: &Host) -> [String; 7] {
    [
        "serve".to_owned(),
        "--listen".to_owned(),
        host.at(7000).to_string(),
        "--listen".to_owned(),
        host.at6(7000).to_string(),
        "--mode".to_owned(),
        "tell".to_owned(),
    ]
}

/// A daemon on each host, and two connections.
fn talking() -> (Mesh, Talk) {
    let mesh = Mesh::on(world(), "tunnel", "", "");
    let application = mesh.world.b.spawn(peer::binary(), &serve(&mesh.world.b));
    let talk = Talk::begin(&mesh.world, application);
    (mesh, talk)
}

#[track_caller]
fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.wait_end(), 128 + Signal::SIGKILL as i32);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_an_application_says_after_its_daemon_was_killed_and_detached_stays_on_the_host() {
    let (mut mesh, mut talk) = talking();
    kill(&mut mesh.b);
    talk.sockets_are("close-wait");
    let kept: Finished = mesh.b.detach().expect_code(1);
    assert!(kept.stderr.contains("2 sockets"), "{kept}");
    let host = talk.host.clone();
    assert_eq!(routes(&host, "local"), (true, true));
    talk.tell("said-after-detach");
    // It is reset by its own host, and has nobody to send to any more.
    holds("its sockets are closed", || {
        talk.tell("said-again").iter().all(|said| said == "EPIPE")
    });
    let gone = mesh.b.detach().expect_code(0);
    assert_eq!(gone.stderr, "", "{gone}");
    for table in ["local", "main"] {
        assert_eq!(routes(&host, table), (false, false), "{table}");
    }
    talk.expect_off_the_wire(&["said-after-detach", "said-again"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_an_application_says_while_its_daemon_stops_stays_on_the_host() {
    let (mut mesh, mut talk) = talking();
    mesh.b.signal(Signal::SIGTERM);
    talk.tell("said-in-the-drain");
    // The second one ends the drain.
    mesh.b.signal(Signal::SIGTERM);
    talk.tell("said-at-the-end");
    mesh.b.wait_end();
    talk.tell("said-afterwards");
    for table in ["local", "main"] {
        assert_eq!(routes(&talk.host, table), (true, true), "{table}");
    }
    talk.expect_off_the_wire(&["said-in-the-drain", "said-at-the-end", "said-afterwards"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_exec_that_ends_takes_no_route_of_another() {
    let world = world();
    let b = world.b.clone();
    let _a = Setup::new(&world, &world.a)
        .with(rules::outbound_mtls("tunnel", "spiffe://example.org/b"))
        .start();
    let write = |name: &str, rules: String| {
        let setup = Setup::new(&world, &b).instance(format!("{}-{name}", b.unique()));
        setup.with(rules).write().display().to_string()
    };
    let first = write(
        "first",
        rules::inbound(r#"["tunnel"]"#, "spiffe://example.org/a"),
    );
    let second = write(
        "second",
        rules::inbound_plain().replace("7000-7999", "9000"),
    );
    let exec = |config: &[&str], command: &[&str]| {
        let options = [&["exec", "--records", "off"], config, &["--"], command];
        b.spawn(sidetrack_bin(), &options.concat())
    };
    let (binary, serve) = (peer::binary().display().to_string(), serve(&b));
    let serve: Vec<&str> = serve.iter().map(String::as_str).collect();
    let application = exec(
        &["--config", &first],
        &[&[binary.as_str()], &serve[..]].concat(),
    );
    let mut talk = Talk::begin(&world, application);
    let before = b.netns().ip(&["route", "show", "table", "all"]);
    // While its routes are there too, and after it has taken them away.
    exec(&["--config", &second], &["true"])
        .finish()
        .expect_code(0);
    exec(&[], &["true"]).finish().expect_code(0);
    talk.tell("said-after-others-ended");
    talk.heard("said-after-others-ended");
    assert_eq!(b.netns().ip(&["route", "show", "table", "all"]), before);
    talk.client.tell("enough");
    talk.application.signal(Signal::SIGTERM);
    holds("the first has ended", || talk.application.has_ended());
    for table in ["local", "main"] {
        assert_eq!(routes(&b, table), (false, false), "{table}");
    }
    talk.expect_off_the_wire(&["said-after-others-ended"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn while_a_route_of_the_hop_is_missing_what_an_application_says_stays_on_the_host() {
    for table in ["local", "main"] {
        let (mut mesh, mut talk) = talking();
        // Nobody puts it back until it goes on.
        mesh.b.signal(Signal::SIGSTOP);
        flush(&talk.host, table);
        assert_eq!(routes(&talk.host, table), (false, false), "{table}");
        talk.tell("said-without-the-route");
        if table == "local" {
            holds("both sockets have tried to send it again", || {
                let args = ["-Htno", "sport", "=", ":7000"];
                let listed = talk.host.run("ss", &args).expect_code(0).stdout;
                let tried = |line: &&str| line.contains("timer:(") && !line.contains(",0)");
                listed.lines().filter(tried).count() == 2
            });
        }
        mesh.b.signal(Signal::SIGCONT);
        holds("it is back", || routes(&talk.host, table) == (true, true));
        talk.heard("said-without-the-route");
        talk.expect_off_the_wire(&["said-without-the-route"]);
    }
}
