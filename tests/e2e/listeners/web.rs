//! HTTP through a pair in mode "tcp", by programs that know nothing of it: what was done with two
//! HAProxy sidecars and Go's net/http at both ends.

use harness::{
    load,
    web::{Asking, CASES},
};

use super::*;

mod attacks;
mod http;
mod malformed;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn gos_client_and_server_do_through_a_pair_what_they_do_without_one() {
    let Pair { near, far, world } = Pair::new();
    let _server = world.b.go_server(local(APP), None);
    let asking = Asking {
        bytes: load(64 << 20),
        requests: load(1_000),
        ..Asking::default()
    };
    let found = world
        .a
        .go_client(&format!("http://{}", local(NEAR)), asking, &CASES);
    let of = |case: &str| found.iter().find(|found| found["case"] == case).unwrap();
    assert_eq!(of("keep-alive")["connections"], 1);
    assert_eq!(of("refused")["sent"], 0, "it waited for the server's word");
    let hint = "103 </style.css>; rel=preload";
    assert_eq!(of("early-hints")["hints"][0], hint);
    let connections: u64 = found
        .iter()
        .map(|case| case["connections"].as_u64().expect("is a number"))
        .sum();
    for daemon in [&near, &far] {
        let records = daemon.wait_records(connections as usize);
        assert_eq!(records.len() as u64, connections, "one for each connection");
        for record in records {
            assert_eq!(record.reason(), "", "{record}");
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn wrk_and_h2load_lose_no_request_through_a_pair() {
    let Pair { near, far, world } = Pair::new();
    let _server = world.b.go_server(local(APP), None);
    let url = format!("http://{}/bytes?n=1000", local(NEAR));
    let total = load(20_000);
    let count = total.to_string();
    let kept = world.a.h2load(&url, &["--h1", "-n", &count, "-c", "32"]);
    assert_eq!(kept, total);
    // By time, and each request on a connection of its own.
    let closing = ["-t1", "-c16", "-d2s", "-H", "Connection: close"];
    let opened = world.a.wrk(&url, &closing);
    assert!(world.a.wrk(&url, &["-t2", "-c64", "-d2s"]) > 0);
    for daemon in [&near, &far] {
        let records = daemon.wait_records(opened as usize + 32);
        let refused = records.iter().find(|record| !fine(record.reason()));
        assert!(refused.is_none(), "{refused:?}");
    }
}

/// wrk drops what it has under way when its time is over.
fn fine(reason: &str) -> bool {
    reason.is_empty() || reason.ends_with("reset")
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn curl_waits_for_100_uploads_in_chunks_and_slowly_and_gets_heads_through_a_pair() {
    let Pair { near, far, world } = Pair::new();
    let _server = world.b.go_server(local(APP), None);
    let to = local(NEAR);
    let said = |more: &[&str]| curl(&world.a, to, more).expect_code(0);
    let file = world.a.dir().join("body").display().to_string();
    let length = load(8 << 20);
    said(&["-o", &file, &format!("http://{to}/bytes?n={length}")]);
    let data = format!("@{file}");
    let data = ["--data-binary", &data];
    let with = |more: &[&str]| said(&[&data, more].concat());
    let waited = with(&["-H", "Expect: 100-continue", "--verbose"]);
    assert!(
        waited.stderr.contains("< HTTP/1.1 100 Continue"),
        "{waited}"
    );
    let chunks = with(&["-H", "Transfer-Encoding: chunked"]);
    assert!(chunks.stdout.contains(r#""chunked":true"#), "{chunks}");
    let slow = with(&["--limit-rate", "8M"]);
    for uploaded in [&waited, &chunks, &slow] {
        let all = format!(r#""received":{length}"#);
        assert!(uploaded.stdout.contains(&all), "{uploaded}");
    }
    let head = said(&["--head"]);
    assert!(head.stdout.starts_with("HTTP/1.1 200 OK"), "{head}");
    for daemon in [&near, &far] {
        for record in daemon.wait_records(5) {
            assert_eq!(record.reason(), "", "{record}");
        }
    }
}

/// Go answers at the first byte that is not of its pattern, and closes on all those that follow.
#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_answer_to_a_request_whose_body_the_server_does_not_read_reaches_the_client_through_a_pair() {
    let Pair { near, far, world } = Pair::new();
    let _server = world.b.go_server(local(APP), None);
    let body = world.a.write("body", &"wrong".repeat(2 << 20));
    let data = format!("@{}", body.display());
    let mut answers = 0;
    for _ in 0..8 {
        let got = curl(&world.a, local(NEAR), &["--data-binary", &data]);
        // A curl that cannot send any more (55) does not look for what it was answered.
        if got.code() != 55 {
            assert!(got.stdout.contains("wrong byte at 0"), "{got}");
            answers += 1;
        }
    }
    assert!(answers > 0, "nobody was answered");
    let passed: Vec<_> = near
        .wait_records(8)
        .iter()
        .map(|r| r.bytes_down())
        .collect();
    assert!(
        passed
            .iter()
            .all(|bytes| *bytes > 100 && *bytes == passed[0]),
        "{passed:?}"
    );
    drop((near, far));
}
