//! Clients that want what the daemon has: its memory, its time, its upstreams.

use harness::{Running, holds_within, peer::parse, web::Asking, webserver::curl};
use serde_json::Value;

use super::{http::far, malformed::capturing, *};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Of a connection of a client, whatever it speaks: its task, its socket's state, its buffers.
const CONNECTION: u64 = 128 * KIB;
/// Of a request under way whose answer is not taken: what was read of it, and the connection to the
/// upstream with its own buffers.
const REQUEST: u64 = 128 * KIB;
/// What is there once, and what the allocator keeps.
const PROCESS: u64 = 24 * MIB;

/// Until the daemon does nothing any more.
#[track_caller]
fn comes_to_rest(daemon: &mut Daemon) {
    let path = format!("/proc/{}/stat", daemon.pid());
    let (mut last, mut same) = (String::new(), 0);
    holds("the daemon does nothing any more", || {
        let stat = std::fs::read_to_string(&path).unwrap();
        let behind = stat.rsplit(')').next().unwrap();
        let times = behind.split(' ').skip(12).take(2);
        let now: String = times.collect::<Vec<_>>().join(" ");
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 60
    });
}

#[track_caller]
fn unread_answers(http2: bool, requests_each: u64) {
    let world = World::pair();
    for host in [&world.a, &world.b] {
        host.sysctl("net/ipv4/tcp_rmem", "4096 16384 65536");
        host.sysctl("net/ipv4/tcp_wmem", "4096 16384 65536");
    }
    let mut far = far(&world, None, "").start();
    let _server = world.b.go_server(local(APP), None);
    let to = world.b.at(FAR);
    curl(&world.a, to, &[]).expect_code(0);
    let before = far.memory();
    let clients = load(100);
    let mut words = vec!["--kind", "unread", "--path", "/bytes?n=1073741824"];
    words.extend(http2.then_some("--http2"));
    let unread = drip(&world, clients, &words);
    comes_to_rest(&mut far);
    let grown = far.memory().saturating_sub(before);
    let bound = clients * (CONNECTION + requests_each * REQUEST) + PROCESS;
    println!(
        "{clients} clients, {requests_each} requests each: {} KiB for each client",
        grown / KIB / clients
    );
    assert!(grown < bound, "{} of {} KiB", grown / KIB, bound / KIB);
    let asking = Asking {
        bytes: MIB,
        requests: 20,
        ..Asking::default()
    };
    let cases = ["keep-alive", "download", "chunked"];
    world.a.go_client(&format!("http://{to}"), asking, &cases);
    drop(unread);
}

/// Starts clients of this kind and waits until all have begun.
#[track_caller]
fn drip(world: &World, count: u64, more: &[&str]) -> Running {
    let (to, count) = (world.b.at(FAR).to_string(), count.to_string());
    let words = ["drip", "--to", &to, "--count", &count];
    let mut running = world.a.peer(&[&words, more].concat());
    running.line("all have begun", |line| {
        (parse(line)?["event"] == "all").then_some(())
    });
    running
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_hundred_clients_that_never_read_their_gibibyte_bound_memory_in_http_1() {
    unread_answers(false, 1);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_hundred_clients_that_never_read_ten_gibibytes_each_bound_memory_in_http_2() {
    unread_answers(true, 10);
}

/// All of them are ended by the daemon, and others are served meanwhile.
#[track_caller]
fn are_ended(kind: &str, http2: bool) {
    let world = World::pair();
    let far = far(&world, None, "head_timeout = \"1s\"\nstall = \"1s\"").start();
    let _server = world.b.go_server(local(APP), None);
    let mut words = vec!["--kind", kind, "--path", "/bytes?n=1000000"];
    words.extend(http2.then_some("--http2"));
    let clients = load(200);
    let mut slow = drip(&world, clients, &words);
    let to = world.b.at(FAR);
    curl(&world.a, to, &[]).expect_code(0);
    let time = std::time::Duration::from_secs(20);
    holds_within(time, "all slow clients were ended", || slow.has_ended());
    let said: Vec<Value> = slow
        .stdout()
        .iter()
        .filter_map(|line| parse(line))
        .collect();
    let ended: Vec<_> = said
        .iter()
        .filter(|said| said["event"] == "ended")
        .collect();
    assert_eq!(ended.len() as u64, clients);
    for end in ended {
        assert_ne!(end["end"], "never", "{end}");
    }
    curl(&world.a, to, &[]).expect_code(0);
    holds("nothing of them is left", || {
        far.ask("connections").as_array().unwrap().is_empty()
    });
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn clients_that_send_a_head_byte_by_byte_are_ended_in_time() {
    are_ended("head", false);
    are_ended("head", true);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn clients_that_send_the_beginning_of_a_body_and_no_more_are_ended_in_time() {
    are_ended("body", false);
    are_ended("body", true);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn clients_that_never_open_their_window_are_ended_in_time() {
    are_ended("zero-window", true);
}

/// Floods of `kind` by four clients at once; what came of each.
#[track_caller]
fn flooded(kind: &str, count: u64) -> Vec<Value> {
    let world = World::pair();
    let mut far = far(&world, None, "").start();
    let _app = capturing(&world);
    let to = world.b.at(FAR);
    curl(&world.a, to, &[]).expect_code(0);
    let before = far.memory();
    let (address, count) = (to.to_string(), count.to_string());
    let words = [
        "h2-flood", "--to", &address, "--kind", kind, "--count", &count,
    ];
    let floods: Vec<_> = (0..4).map(|_| world.a.peer(&words)).collect();
    for _ in 0..5 {
        curl(&world.a, to, &[]).expect_code(0);
    }
    let ends = floods.into_iter().map(|flood| {
        let ended = flood.finish_within(harness::wait::DEADLINE).expect_code(0);
        let last = ended.stdout.lines().last().and_then(parse);
        last.unwrap_or_else(|| panic!("{ended}"))
    });
    let ends: Vec<Value> = ends.collect();
    curl(&world.a, to, &[]).expect_code(0);
    let grown = far.memory().saturating_sub(before);
    assert!(grown < PROCESS, "{kind}: {} KiB", grown / KIB);
    println!("{kind}: {} KiB, {}", grown / KIB, ends[0]);
    ends
}

/// A flood that is answered with GOAWAY, long before its end.
#[track_caller]
fn is_ended(kind: &str, count: u64) {
    for end in flooded(kind, count) {
        let said = end["end"].as_str().unwrap();
        assert!(said.starts_with("GOAWAY") || said == "closed", "{end}");
        assert!(end["sent"].as_u64().unwrap() < count, "{end}");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn requests_that_are_reset_at_once_and_headers_without_end_are_answered_with_goaway() {
    is_ended("rapid-reset", 20_000);
    is_ended("made-you-reset", 20_000);
    is_ended("continuation", 200_000);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn more_streams_or_headers_than_are_allowed_are_refused_one_by_one() {
    for (kind, count) in [("streams", 2_000), ("hpack-bomb", 500)] {
        for end in flooded(kind, count) {
            let verdicts = end["verdicts"].as_object().unwrap();
            let refused = verdicts.keys().any(|verdict| {
                ["RST_STREAM", "GOAWAY", "answered 431"]
                    .iter()
                    .any(|refusal| verdict.starts_with(refusal))
            });
            assert!(refused, "{end}");
            // The bomb's fuse is a request that nothing is wrong with.
            let answered = verdicts.get("answered 200").and_then(Value::as_u64);
            assert!(answered.is_none_or(|answered| answered == 1), "{end}");
        }
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn floods_of_settings_pings_priorities_and_empty_frames_cost_memory_to_nobody() {
    for kind in [
        "settings",
        "ping",
        "priority",
        "empty-data",
        "window-update",
    ] {
        for end in flooded(kind, 20_000) {
            assert_ne!(end["end"], "silent", "{end}");
        }
    }
}
