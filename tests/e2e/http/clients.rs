//! Who asks: certificates, what the upstream is told of them, and who asks nothing.

use harness::holds;
use nix::sys::signal::Signal;

use super::*;

const ROUTES: &str = r#"
[[listener.route]]
name = "private"
prefix = "/private"
allow = ["a.example.org"]
upstream = "app"
rewrite = { prefix = "/echo" }
[[listener.route]]
name = "api"
prefix = "/api/v1"
upstream = "app"
rewrite = { prefix = "/echo", host = "app.internal" }
[[listener.route]]
name = "rest"
upstream = "app"
"#;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn in_mutual_mode_curl_without_a_certificate_is_told_that_one_is_required() {
    let front = Front::new("mutual", ROUTES);
    for version in ["--http1.1", "--http2"] {
        let none = front.fetch_tls("/echo", false, &[version]);
        assert_ne!(none.0.code(), 0, "{}", none.0);
        assert!(none.0.stderr.contains("certificate required"), "{}", none.0);
        assert_eq!(front.fetch_tls("/echo", true, &[version]).status(), 200);
    }
    let records = front.requests(2);
    assert_eq!(records.len(), 2, "nobody else got as far as a request");
    for record in records {
        assert_eq!(record.peer_identity(), "spiffe://example.org/a", "{record}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_route_lets_in_whom_it_names_and_the_others_are_served_elsewhere() {
    let front = Front::new("optional", ROUTES);
    for version in ["--http1.1", "--http2"] {
        let got = front.fetch_tls("/private", false, &[version]);
        assert_eq!(
            (got.status(), got.body()),
            (403, "not-allowed"),
            "{}",
            got.0
        );
        assert_eq!(front.fetch_tls("/echo", false, &[version]).status(), 200);
        let got = front.fetch_tls("/private", true, &[version]);
        let shown = got.passed("x-forwarded-client-cert").join(",");
        assert!(shown.contains("URI=spiffe://example.org/a"), "{shown}");
    }
    let refused = front.requests(6);
    let refused: Vec<_> = refused
        .iter()
        .filter(|record| record.reason() != "")
        .collect();
    assert_eq!(refused.len(), 2, "{refused:#?}");
    assert!(
        refused
            .iter()
            .all(|record| record.reason() == "not-allowed")
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_a_client_says_of_itself_is_replaced_unless_it_is_named_and_host_and_prefix_are_rewritten() {
    let world = World::pair();
    let _app = world.b.http_server(app());
    let claims = [
        ["-H", "X-Forwarded-For: 192.0.2.9"],
        ["-H", "X-Forwarded-Proto: gopher"],
        ["-H", "X-Forwarded-Host: bank.example"],
        ["-H", "Forwarded: for=192.0.2.9"],
        [
            "-H",
            "X-Forwarded-Client-Cert: URI=spiffe://example.org/root",
        ],
        ["-H", "Connection: x-secret"],
        ["-H", "X-Secret: 1"],
    ]
    .concat();
    for (from, passes) in [("10.88.0.99/32", false), ("10.88.0.1/32", true)] {
        let http = format!("forwarded_from = [\"{from}\"]");
        let _daemon = setup(&world, "simple", &http, ROUTES).start();
        let url = format!("http://{}/api/v1/users?id=7", world.b.at(PLAIN));
        let got = world.a.fetch(&url, &claims);
        assert_eq!(got.echoed()["target"], "/echo/users?id=7", "{}", got.0);
        assert_eq!(got.passed("host"), ["app.internal"]);
        let client = world.a.v4().to_string();
        let forwarded = got.passed("x-forwarded-for").join(", ");
        if passes {
            assert_eq!(forwarded, format!("192.0.2.9, {client}"));
        } else {
            assert_eq!(forwarded, client);
            assert_eq!(got.passed("x-forwarded-proto"), ["http"]);
            assert_eq!(
                got.passed("x-forwarded-host"),
                [world.b.at(PLAIN).to_string()]
            );
            assert!(!got.text().contains("192.0.2.9"), "{}", got.0);
            assert!(
                got.passed("x-forwarded-client-cert").is_empty(),
                "{}",
                got.0
            );
        }
        assert!(
            got.passed("x-secret").is_empty(),
            "it was for this hop: {}",
            got.0
        );
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn who_sends_a_head_byte_by_byte_or_reads_no_answer_is_cut_off_and_the_idle_are_let_go() {
    let world = World::pair();
    let _app = world.b.http_server(app());
    let http = "head_timeout = \"1s\"\nstall = \"1s\"";
    let daemon = setup(&world, "simple", http, ROUTES).start();
    let connect = format!("connect={}", world.b.at(PLAIN));
    let slow = world
        .a
        .script(&[&connect, "send=GET /echo HTTP/1.1\r", "rest"]);
    assert_eq!(slow.of("rest").err().as_deref(), Some("ECONNRESET"));
    let record = daemon.wait_records(1).remove(0);
    assert_eq!(record.reason(), "head-timeout", "{record}");
    let idle = world.a.script(&[
        &connect,
        "send=GET /status/204 HTTP/1.1\r\nHost: x\r\n\r",
        "rest",
    ]);
    idle.all_ok();
    let record = daemon.wait_records(3).remove(2);
    assert_eq!(
        (record.direction(), record.reason()),
        ("listener", ""),
        "{record}"
    );
    // As a client that reads nothing: it is stopped, with what is on its way in its buffers.
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let before = daemon.records().len();
        let url = format!("http://{}/big", world.b.at(PLAIN));
        let words = [
            "-sS",
            "-o",
            "/dev/null",
            "--limit-rate",
            "100k",
            version,
            &url,
        ];
        let client = world.a.spawn("curl", &words);
        holds("an answer is under way", || {
            daemon.ask("connections").as_array().unwrap().len() == 1
        });
        client.signal(Signal::SIGSTOP);
        let records = daemon.wait_records(before + 1);
        assert_eq!(
            records[before].reason(),
            "stalled",
            "{version}: {records:#?}"
        );
        assert_eq!(records[before].path(), "/big");
        client.signal(Signal::SIGCONT);
        assert_ne!(client.finish().code(), 0);
    }
}
