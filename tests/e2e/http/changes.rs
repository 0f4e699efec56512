//! What changes while requests are under way: reloads, the end of the daemon, and the protocol.

use harness::{Running, holds};
use nix::sys::signal::Signal;

use super::*;

const ROUTES: &str = r#"
[[listener.route]]
name = "all"
upstream = "app"
"#;

/// Requests that wait for the server's word, in both versions.
fn waiting(front: &Front) -> Vec<Running> {
    let versions = ["--http1.1", "--http2"];
    let begin = |version: &&str| {
        let (url, words) = front.tls("/wait");
        let mut words: Vec<_> = words.iter().map(String::as_str).collect();
        words.extend(["-sS", version, &url]);
        front.world.a.spawn("curl", &words)
    };
    let clients = versions.iter().map(begin).collect();
    holds("both requests have come", || {
        let waiting = front
            .app
            .stdout()
            .iter()
            .filter(|line| line.contains("waiting"))
            .count();
        waiting == versions.len()
    });
    clients
}

fn answer(front: &mut Front, clients: Vec<Running>) {
    for _ in &clients {
        front.app.tell("at last");
    }
    for client in clients {
        let got = client.finish().expect_code(0);
        assert_eq!(got.stdout, "at last");
    }
}

fn reload(front: &mut Front, from: &str, to: &str) {
    let toml = std::fs::read_to_string(front.daemon.config()).unwrap();
    let changed = toml.replace(from, to);
    assert_ne!(toml, changed);
    std::fs::write(front.daemon.config(), changed).unwrap();
    let count = |front: &Front| front.daemon.ask("status")["generation"].as_u64();
    let before = count(front);
    front.daemon.signal(Signal::SIGHUP);
    holds("it has reloaded", || count(front) != before);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_reload_drops_no_request_and_the_next_one_on_the_same_connection_follows_the_new_rules() {
    let mut front = Front::new("simple", ROUTES);
    let clients = waiting(&front);
    let at = front.world.b.at(PLAIN);
    let mut open = front.world.a.peer(&[
        "script",
        &format!("connect={at}"),
        "send=GET /status/204 HTTP/1.1\r\nHost: x\r\n\r",
        "line",
        "pause",
        "send=GET /status/204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r",
        "rest",
    ]);
    open.line("its answer", |line| {
        line.contains("HTTP/1.1 204").then_some(())
    });
    let blocked =
        "[[listener.route]]\nname = \"blocked\"\nprefix = \"/status\"\nanswer = { status = 451 }\n";
    reload(&mut front, ROUTES, &format!("{blocked}{ROUTES}"));
    open.tell("");
    open.line("the answer of now", |line| {
        line.contains("HTTP/1.1 451").then_some(())
    });
    // What is left of the connections has another mode from now on, or none.
    reload(
        &mut front,
        "mode = \"simple\"",
        "mode = \"mutual\", allow = [\"a.example.org\"]",
    );
    let none = front.fetch_tls("/echo", false, &[]);
    assert!(none.0.stderr.contains("certificate required"), "{}", none.0);
    answer(&mut front, clients);
    let records = front.requests(4);
    let refused: Vec<_> = records
        .iter()
        .filter(|record| record.reason() != "")
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_drain_waits_for_requests_and_for_nobody_who_is_idle() {
    let mut front = Front::new("simple", ROUTES);
    let clients = waiting(&front);
    let at = front.world.b.at(PLAIN);
    let mut idle = front.world.a.peer(&[
        "script",
        &format!("connect={at}"),
        "send=GET /status/204 HTTP/1.1\r\nHost: x\r\n\r",
        "line",
        "rest",
    ]);
    idle.line("its answer", |line| {
        line.contains("HTTP/1.1 204").then_some(())
    });
    front.daemon.signal(Signal::SIGTERM);
    idle.finish().expect_code(0);
    answer(&mut front, clients);
    assert_eq!(front.daemon.wait_end(), 0);
    let records = front.requests(3);
    assert!(
        records.iter().all(|record| record.reason() == ""),
        "{records:#?}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_websocket_is_relayed_until_its_ends_close() {
    let front = Front::new("simple", ROUTES);
    let at = front.world.b.at(PLAIN);
    let steps = front.world.a.script(&[
        &format!("connect={at}"),
        "send=GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst",
        "line",
        "send=second",
        "shutdown",
        "rest",
    ]);
    let line = steps.ok("line").to_string();
    assert!(line.contains("101"), "{line}");
    let rest = steps.ok("rest").to_string();
    assert!(rest.to_lowercase().contains("upgrade: websocket"), "{rest}");
    assert!(rest.contains("first") && rest.contains("second"), "{rest}");
    let record = front.requests(1).remove(0);
    assert_eq!(
        (record.http_status(), record.reason()),
        (101, ""),
        "{record}"
    );
    assert_eq!(
        (record.bytes_up(), record.bytes_down()),
        (13, 13),
        "{record}"
    );
}
