//! What no client should send: frames and requests made by hand.

use harness::{host::Host, peer::parse, webserver::curl};
use serde_json::Value;

use super::{http::far, *};

/// What each line of a `peer` is.
fn lines(host: &Host, words: &[&str]) -> Vec<Value> {
    let ended = host.peer(words).finish_within(harness::wait::DEADLINE * 2);
    let ended = ended.expect_code(0);
    ended.stdout.lines().filter_map(parse).collect()
}

/// An application that prints what it is sent.
#[track_caller]
pub(super) fn capturing(world: &World) -> harness::Running {
    let listen = local(APP).to_string();
    let mut app = world.b.peer(&["requests", "--listen", &listen]);
    app.line("it listens", |line| {
        (parse(line)?["event"] == "ready").then_some(())
    });
    app
}

fn requests(app: &harness::Running) -> Vec<Value> {
    let lines = app.stdout();
    let said = lines.iter().filter_map(|line| parse(line));
    said.filter(|said| said["event"] == "request").collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_rfc_9113_forbids_ends_its_stream_or_connection_and_reaches_no_application() {
    let world = World::pair();
    let far = far(&world, None, "").start();
    let app = capturing(&world);
    let to = world.b.at(FAR);
    let judged = lines(&world.a, &["h2", "--to", &to.to_string()]);
    assert!(judged.len() > 70, "{} cases", judged.len());
    let wrong: Vec<String> = judged
        .iter()
        .filter(|case| {
            let verdict = case["verdict"].as_str().unwrap();
            let ended = verdict == "closed"
                || verdict.starts_with("GOAWAY") && verdict != "GOAWAY NO_ERROR";
            let refused = verdict.starts_with("RST_STREAM") || verdict.starts_with("answered 4");
            !match case["scope"].as_str().unwrap() {
                "connection" => ended,
                "stream" => ended || refused,
                _ => verdict == "answered 200",
            }
        })
        .map(ToString::to_string)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for request in requests(&app) {
        assert!(request["wrong"].is_null(), "{request}");
    }
    curl(&world.a, to, &[]).expect_code(0);
    drop(far);
}

/// Each has a second request in it for whom takes the first one's end for another place.
const HIDDEN: &str = r"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

/// Requests that servers after us could take for others, with the only statuses that they may get;
/// without any they may be answered, if the application gets what the grammar allows.
const DOUBTFUL: [(&str, &[&str]); 34] = [
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!HIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\nhello!HIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhelloHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhelloHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\nxHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhelloHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhelloHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
        &[],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN",
        &[],
    ),
    (
        r"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nHIDDEN",
        &["400"],
    ),
    (
        r"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\nHIDDEN",
        &["400"],
    ),
    (r"GET / HTTP/1.1\r\n X: a\r\nHost: h\r\n\r\n", &["400"]),
    (r"GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n", &["400"]),
    (r"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", &["400"]),
    (r"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", &["400"]),
    (
        r"GET / HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
        &["400"],
    ),
    (r"GET / HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello", &[]),
    (
        r"GET / HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n",
        &["400"],
    ),
    (r"GET / HTTP/1.1\r\n\r\n", &["400"]),
    (r"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", &["400"]),
    (
        r"GET http://h/ HTTP/1.1\r\nHost: other.example.org\r\n\r\n",
        &[],
    ),
];

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_request_that_could_be_taken_for_another_is_refused_or_reaches_the_application_as_one() {
    let world = World::pair();
    let in_time = "head_timeout = \"1s\"\nstall = \"1s\"";
    let _far = far(&world, None, in_time).start();
    let app = capturing(&world);
    let to = world.b.at(FAR).to_string();
    let mut wrong = Vec::new();
    for (request, statuses) in DOUBTFUL {
        let before = requests(&app).len();
        let request = request.replace("HIDDEN", HIDDEN);
        let answered = lines(&world.a, &["raw", "--to", &to, &request]);
        let got: Vec<_> = answered[0]["statuses"].as_array().unwrap().iter().collect();
        let reached = requests(&app).split_off(before);
        let refused = got.len() == 1 && statuses.iter().any(|status| got[0] == *status);
        // Every answer but a refusal is the application's, to a request of which we know.
        let served = got.iter().filter(|status| **status == "200").count();
        let sound = reached.iter().all(|request| request["wrong"].is_null());
        let whole = reached.iter().filter(|request| request["whole"] == true);
        if !sound || whole.count() > served || !statuses.is_empty() && !refused {
            wrong.push(format!("{}\nreached {reached:?}", answered[0]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What stands in the request line counts, and its host alone goes on.
    let last = requests(&app).pop().unwrap();
    let hosts = last["headers"].as_array().unwrap().iter();
    let hosts: Vec<_> = hosts.filter(|header| header[0] == "host").collect();
    assert_eq!(hosts.len(), 1, "{last}");
    assert_eq!(hosts[0][1], "h", "{last}");
}
