//! HTTP through a pair in mode "tcp", by programs that know nothing of it: what was done with two
//! HAProxy sidecars and Go's net/http at both ends.

use harness::{
    load,
    web::{Asking, CASES},
};

use super::*;

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
    assert_eq!(found[0]["connections"], 1, "{}", found[0]);
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
    let body = vec![b'u'; load(8 << 20) as usize];
    let file = world.a.write("body", std::str::from_utf8(&body).unwrap());
    let data = format!("@{}", file.display());
    let to = local(NEAR);
    let chunked = ["--data-binary", &data, "-H", "Transfer-Encoding: chunked"];
    let said = |more: &[&str]| curl(&world.a, to, more).expect_code(0);
    let waited = said(&[
        "--data-binary",
        &data,
        "-H",
        "Expect: 100-continue",
        "--verbose",
    ]);
    assert!(
        waited.stderr.contains("< HTTP/1.1 100 Continue"),
        "{waited}"
    );
    let chunks = said(&chunked);
    assert!(chunks.stdout.contains(r#""chunked":true"#), "{chunks}");
    let head = said(&["--head"]);
    assert!(head.stdout.starts_with("HTTP/1.1 200 OK"), "{head}");
    let slow = said(&["--data-binary", &data[..], "--limit-rate", "8M"]);
    assert!(
        slow.stdout.contains(&format!(r#""length":{}"#, body.len())),
        "{slow}"
    );
    for daemon in [&near, &far] {
        for record in daemon.wait_records(4) {
            assert_eq!(record.reason(), "", "{record}");
        }
    }
}
