//! Bodies on their way through, in both directions.

use super::*;

const ROUTES: &str = r#"
[[listener.route]]
name = "limited"
prefix = "/limited"
upstream = "app"
max_body = "64KiB"
rewrite = { prefix = "/echo" }
[[listener.route]]
name = "quick"
prefix = "/quick"
upstream = "app"
timeout = "300ms"
rewrite = { prefix = "/silent" }
[[listener.route]]
name = "rest"
upstream = "app"
"#;

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn events_come_one_by_one_as_they_are_sent() {
    let mut front = Front::new("simple", ROUTES);
    for version in VERSIONS {
        let (url, words) = front.tls("/sse");
        let mut words: Vec<_> = words.iter().map(String::as_str).collect();
        words.extend(["-sS", "-N", version, &url]);
        let mut client = front.world.a.spawn("curl", &words);
        for event in ["one", "two", "three"] {
            front.app.tell(event);
            client.line(event, |line| line.contains(event).then_some(()));
        }
        front.app.tell("end");
        client.finish().expect_code(0);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn trailers_pass_and_answers_without_bodies_stay_without() {
    let front = Front::new("simple", ROUTES);
    for version in VERSIONS {
        let got = front.fetch_tls("/trailers", false, &[version, "-H", "TE: trailers"]);
        let text = got.text().to_lowercase();
        assert!(text.contains("x-sum: 42"), "{}", got.0);
        for (path, more, status) in [
            ("/echo", "--head", 200),
            ("/status/204", "--get", 204),
            ("/status/304", "--get", 304),
        ] {
            let got = front.fetch_tls(path, false, &[version, more]);
            assert_eq!((got.status(), got.body()), (status, ""), "{}", got.0);
            got.0.expect_code(0);
        }
    }
    let records = front.requests(8);
    assert!(
        records.iter().all(|record| record.reason() == ""),
        "{records:#?}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn who_asks_first_is_told_to_go_on_when_the_upstream_takes_the_body_and_not_when_it_is_too_long() {
    let front = Front::new("simple", ROUTES);
    let long = front.world.a.write("long", &"x".repeat(100_000));
    let short = front.world.a.write("short", &"x".repeat(50_000));
    let [long, short] = [long, short].map(|path| format!("@{}", path.display()));
    let ask = |path: &str, version: &str, file: &str, more: &[&str]| {
        // Only a 100 makes it send the body before the test has failed.
        let words = [
            version,
            "-v",
            "--expect100-timeout",
            "60",
            "--data-binary",
            file,
        ];
        front.fetch_tls(path, false, &[&words, more].concat())
    };
    let expect = ["-H", "Expect: 100-continue"];
    let got = ask("/limited", "--http1.1", &short, &expect);
    assert!(got.text().contains("100 Continue"), "{}", got.0);
    assert_eq!(got.echoed()["length"], 50_000, "{}", got.0);
    assert!(
        got.passed("expect").is_empty(),
        "it is ours to answer: {}",
        got.0
    );
    let got = ask("/limited", "--http1.1", &long, &expect);
    assert!(!got.text().contains("100 Continue"), "{}", got.0);
    assert_eq!(got.status(), 413, "{}", got.0);
    // Who says no length is found out as it sends.
    for version in VERSIONS {
        for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
            let got = ask(
                "/limited",
                version,
                &long,
                &[&["-H", "Expect:"], more].concat(),
            );
            assert_eq!(
                (got.status(), got.body()),
                (413, "body-too-large"),
                "{}",
                got.0
            );
            let got = ask(
                "/limited",
                version,
                &short,
                &[&["-H", "Expect:"], more].concat(),
            );
            assert_eq!(got.echoed()["length"], 50_000, "{}", got.0);
        }
    }
    let records = front.requests(10);
    let too_long = records
        .iter()
        .filter(|record| record.reason() == "body-too-large");
    assert_eq!(too_long.count(), 5, "{records:#?}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_answer_that_breaks_off_never_looks_whole() {
    let front = Front::new("simple", ROUTES);
    let mut count = 0;
    for version in VERSIONS {
        for path in ["/cut", "/cut-chunks"] {
            let got = front.fetch_tls(path, false, &[version]);
            assert_ne!(got.0.code(), 0, "{path} {version}: {}", got.0);
            count += 1;
            let record = front.requests(count).pop().unwrap();
            assert_eq!(record.reason(), "upstream-cut", "{record}");
        }
    }
    // Without a length in HTTP/1.0, only a reset tells.
    let got = front
        .world
        .a
        .fetch(&front.plain("/cut-chunks"), &["--http1.0"]);
    assert_eq!(got.0.code(), 56, "{}", got.0);
    let refused = front.daemon.ask("status")["refused"].clone();
    assert_eq!(
        refused["upstream-cut"], 5,
        "each is counted once: {refused}"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_upstream_that_is_slow_is_504_and_one_that_is_down_503_until_it_is_back() {
    let mut front = Front::new("simple", ROUTES);
    for version in VERSIONS {
        let got = front.fetch_tls("/quick", false, &[version]);
        assert_eq!(
            (got.status(), got.body()),
            (504, "upstream-timeout"),
            "{}",
            got.0
        );
    }
    let nobody = front.world.b.spawn("sleep", &["60"]);
    drop(std::mem::replace(&mut front.app, nobody));
    for version in VERSIONS {
        let got = front.fetch_tls("/echo", false, &[version]);
        assert_eq!(
            (got.status(), got.body()),
            (503, "upstream-down"),
            "{}",
            got.0
        );
    }
    front.daemon.wait_log("is down");
    front.app = front.world.b.http_server(app());
    front.daemon.wait_log("up again");
    assert_eq!(front.fetch_tls("/echo", false, &[]).status(), 200);
    let reasons: Vec<_> = front
        .requests(5)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    assert_eq!(reasons[..2], ["upstream-timeout"; 2]);
    assert_eq!(reasons[4], "", "{reasons:?}");
}

/// Who sends on does not read before it has sent all: a reset would be all that it sees.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_upstreams_early_answer_reaches_a_client_that_has_much_to_send_still() {
    let front = Front::new("simple", ROUTES);
    let connect = format!("connect={}", front.world.b.at(PLAIN));
    let head = "send=POST /refused HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 200000\r\n\r";
    // With the end of its line, each is 50,000 bytes.
    let piece = format!("send={}", "x".repeat(49_999));
    let mut steps = vec![connect.as_str(), head, &piece, "line"];
    steps.extend([&piece, &piece, &piece].map(String::as_str));
    steps.push("rest");
    let steps = front.world.a.script(&steps).all_ok();
    let status = steps.ok("line").to_string();
    assert!(status.contains("HTTP/1.1 413 "), "{status}");
    let rest = steps.ok("rest").to_string();
    assert!(rest.contains("refused"), "{rest}");
    let record = front.requests(1).remove(0);
    assert_eq!(record.reason(), "", "{record}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn trailers_of_a_request_pass_but_for_those_that_say_who_asks() {
    let front = Front::new("simple", ROUTES);
    let request = "send=POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: x-sum, x-forwarded-for, x_real_ip\r\n\r\n\
                   1\r\nx\r\n0\r\nx-sum: 42\r\nx-forwarded-for: 192.0.2.9\r\nx_real_ip: 192.0.2.9\r\n\r";
    let connect = format!("connect={}", front.world.b.at(PLAIN));
    let steps = front.world.a.script(&[&connect, request, "rest"]).all_ok();
    let rest = steps.ok("rest").to_string();
    assert!(rest.to_lowercase().contains("x-sum: 42"), "{rest}");
    assert!(!rest.contains("192.0.2.9"), "{rest}");
}
