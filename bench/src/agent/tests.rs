//! A real client and a real server over the loopback, in one process.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{ChildStdin, ChildStdout},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{client, relay, server, workers, *};
use crate::{
    load::{Load, Way},
    measured::Sample,
};

mod handshake;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = workers::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

fn server() -> SocketAddr {
    let (listener, at) = listener();
    thread::spawn(move || server::serve(listener));
    at
}

fn plain(to: SocketAddr) -> Target {
    Target { to, tls: None }
}

#[track_caller]
fn run(to: SocketAddr, load: &Load) -> Sample {
    load.run(&plain(to), &mut Kept::default()).unwrap()
}

#[track_caller]
fn clean(to: SocketAddr, load: &Load) -> Sample {
    let sample = run(to, load);
    assert_eq!((sample.failed, sample.reason.as_deref()), (0, None));
    sample
}

const REQUESTS: Load = Load::Requests {
    connections: 3,
    size: 100,
    answer: 200_000,
    keep_alive: true,
    millis: 50,
};

const RATE: Load = Load::Rate {
    per_second: 1_000,
    connections: 3,
    size: 100,
    answer: 1_000,
    beside_bulk: false,
    millis: 100,
};

#[test]
fn operations_that_are_counted_are_done_so_often_and_timed_each() {
    let to = server();
    for (load, bytes) in [
        (Load::Connect { count: 200 }, 0),
        (Load::FirstByte { count: 200 }, 400),
        (
            Load::RoundTrip {
                size: 300_000,
                count: 200,
            },
            120_000_000,
        ),
    ] {
        let sample = clean(to, &load);
        assert_eq!((sample.done, sample.bytes), (200, bytes), "{load:?}");
        assert_eq!(sample.latencies.len(), 200);
        let sum = sample.latencies.mean() * 200.0;
        assert!(sum <= 1.01 * sample.took.as_nanos() as f64, "{load:?}");
    }
}

#[test]
fn requests_go_on_for_their_time_over_kept_connections_and_over_new_ones() {
    let to = server();
    for keeps in [true, false] {
        let mut load = REQUESTS;
        if let Load::Requests { keep_alive, .. } = &mut load {
            *keep_alive = keeps;
        }
        let sample = clean(to, &load);
        assert!(sample.took >= Duration::from_millis(50));
        assert!(sample.done >= 3);
        assert_eq!(sample.latencies.len(), sample.done);
        assert_eq!(sample.bytes, sample.done * 200_100);
    }
}

#[test]
fn at_a_fixed_rate_each_planned_request_is_answered_also_beside_a_bulk_stream() {
    let to = server();
    let sample = clean(to, &RATE);
    assert_eq!((sample.done, sample.latencies.len()), (100, 100));
    assert_eq!(sample.bytes, 110_000);
    let mut load = RATE;
    if let Load::Rate { beside_bulk, .. } = &mut load {
        *beside_bulk = true;
    }
    let beside = clean(to, &load);
    assert_eq!((beside.done, beside.latencies.len()), (100, 100));
    assert!(beside.bytes > 1_000_000, "{}", beside.bytes);
}

#[test]
fn bulk_goes_each_way_and_both_at_once_and_bytes_are_those_that_arrived() {
    let to = server();
    for (way, write) in [
        (Way::Up, 65_536),
        (Way::Down, 65_536),
        (Way::Both, 65_536),
        (Way::Up, 64),
        (Way::Both, 1),
    ] {
        let millis = 100;
        let sample = clean(to, &Load::Bulk { way, write, millis });
        assert!(sample.bytes > 10_000, "{way:?} {write}: {}", sample.bytes);
        // The ramp and the tail beside the span, at about the rate of the span.
        assert!(sample.took > Duration::from_millis(100), "{sample:?}");
    }
}

#[test]
fn more_connections_are_held_than_there_are_threads_and_the_next_load_ends_them() {
    let to = server();
    let mut kept = Kept::default();
    let connections = 1_500;
    let idle = Load::Idle { connections };
    let sample = idle.run(&plain(to), &mut kept).unwrap();
    assert_eq!((sample.done, sample.failed), (1_500, 0), "{sample:?}");
    let held = kept.idle.iter().map(|stream| stream.try_clone().unwrap());
    let held: Vec<_> = held.collect();
    assert_eq!(held.len(), 1_500);
    let next = Load::Connect { count: 1 };
    next.run(&plain(to), &mut kept).unwrap();
    assert!(kept.idle.is_empty());
    for mut stream in held {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

/// A server of exchanges that stops for 50 ms after so many bytes of requests.
fn stalls_after(bytes: usize) -> SocketAddr {
    let (listener, at) = listener();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let verb = Verb::Exchange {
            request: 1,
            answer: 1,
            last: false,
        };
        let mut verb = verb.encode();
        stream.read_exact(&mut verb).unwrap();
        let mut served = 0;
        while let Ok(got @ 1..) = stream.read(&mut buffer) {
            if (served..served + got).contains(&bytes) {
                // The stall is what is measured, and nothing is waited for.
                thread::sleep(Duration::from_millis(50));
            }
            served += got;
            stream.write_all(&buffer[..got]).unwrap();
        }
    });
    at
}

#[test]
fn a_stall_of_the_server_counts_for_each_request_that_was_planned_meanwhile() {
    let sample = clean(
        stalls_after(200),
        &Load::Rate {
            per_second: 1_000,
            connections: 1,
            size: 1,
            answer: 1,
            beside_bulk: false,
            millis: 400,
        },
    );
    let late = sample
        .latencies
        .count_between(20_000_000, sample.latencies.max());
    // Of the 50 requests, the first 30 wait for 20 ms and more.
    assert!(late >= 28, "{late}");
    assert!(sample.latencies.value_at_quantile(0.99) >= 40_000_000);
    // What asks one after another has a single late one, which its p99 does not show.
    let closed = clean(
        stalls_after(200),
        &Load::RoundTrip {
            size: 1,
            count: 400,
        },
    );
    let late = closed
        .latencies
        .count_between(20_000_000, closed.latencies.max());
    assert!(late < 10, "{late}");
}

#[test]
fn what_fails_is_counted_and_its_first_reason_is_told_with_its_errno() {
    let (listener, closed) = listener();
    drop(listener);
    let sample = run(closed, &Load::FirstByte { count: 100 });
    assert_eq!((sample.done, sample.failed), (0, 16));
    let reason = sample.reason.unwrap();
    assert!(
        reason.starts_with("connecting: ") && reason.contains("os error 111"),
        "{reason}"
    );
    let trouble = RATE.run(&plain(closed), &mut Kept::default());
    let trouble = trouble.unwrap_err().to_string();
    assert!(trouble.contains(&closed.to_string()), "{trouble}");
}

#[test]
fn a_server_that_goes_away_fails_all_requests_that_it_has_not_answered() {
    let (listener, to) = listener();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 64];
        for _ in 0..20 {
            let got = stream.read(&mut buffer).unwrap();
            stream.write_all(&buffer[..got]).unwrap();
        }
    });
    let sample = run(
        to,
        &Load::Rate {
            per_second: 1_000,
            connections: 1,
            size: 10,
            answer: 10,
            beside_bulk: false,
            millis: 100,
        },
    );
    assert!(sample.done < 30, "{sample:?}");
    assert!(sample.done + sample.failed >= 100, "{sample:?}");
}

#[test]
fn a_path_that_hangs_ends_the_slice_with_words() {
    // Connections wait in its queue, and nobody accepts them.
    let (_listener, to) = listener();
    let load = Load::RoundTrip { size: 1, count: 1 };
    let trouble = load.run(&plain(to), &mut Kept::default()).unwrap_err();
    let trouble = trouble.to_string();
    assert!(
        trouble.contains("waiting for an answer: nothing happened for 10 s"),
        "{trouble}"
    );
}

#[test]
fn the_relay_carries_each_load_to_where_it_is_told() {
    let to = server();
    let (listener, relay) = listener();
    thread::spawn(move || relay::serve(listener, move |_| Ok(to)));
    clean(relay, &Load::FirstByte { count: 50 });
    clean(relay, &REQUESTS);
    clean(relay, &RATE);
    for way in [Way::Up, Way::Down, Way::Both] {
        let (write, millis) = (65_536, 50);
        let sample = clean(relay, &Load::Bulk { way, write, millis });
        assert!(sample.bytes > 1_000_000);
    }
}

#[test]
fn a_connection_that_nobody_redirected_is_reset_by_the_relay() {
    let (listener, relay) = listener();
    thread::spawn(move || relay::serve(listener, relay::original));
    let mut stream = TcpStream::connect(relay).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_of_the_client_passes_through_the_relay() {
    let (server, to) = listener();
    let (listener, relay) = listener();
    thread::spawn(move || relay::serve(listener, move |_| Ok(to)));
    let client = TcpStream::connect(relay).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let error = accepted.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// The role over pipes, in a thread, and its far end.
fn client() -> Client {
    let (orders, stdin) = std::io::pipe().unwrap();
    let (stdout, answers) = std::io::pipe().unwrap();
    thread::spawn(move || client::run(std::io::BufReader::new(orders), answers));
    Client::new(
        ChildStdin::from(std::os::fd::OwnedFd::from(stdin)),
        ChildStdout::from(std::os::fd::OwnedFd::from(stdout)),
    )
}

#[test]
fn a_client_takes_one_order_after_another_and_says_what_it_could_not_begin() {
    let to = plain(server());
    let mut client = client();
    for count in [10, 20] {
        let sample = client.run(&to, &Load::FirstByte { count }).unwrap();
        assert_eq!((sample.done, sample.failed), (u64::from(count), 0));
        assert_eq!(sample.latencies.len(), u64::from(count));
    }
    let none = Load::RoundTrip { size: 0, count: 1 };
    let trouble = client.run(&to, &none).unwrap_err();
    assert!(trouble.to_string().contains("0 bytes"), "{trouble}");
    client.run(&to, &Load::Connect { count: 1 }).unwrap();
}

#[test]
fn a_client_that_ended_is_told_of_and_is_not_asked_again() {
    let (orders, stdin) = std::io::pipe().unwrap();
    let (stdout, answers) = std::io::pipe().unwrap();
    let mut client = Client::new(
        ChildStdin::from(std::os::fd::OwnedFd::from(stdin)),
        ChildStdout::from(std::os::fd::OwnedFd::from(stdout)),
    );
    drop(answers);
    let to = plain("127.0.0.1:1".parse().unwrap());
    for _ in 0..2 {
        let trouble = client.run(&to, &Load::Connect { count: 1 }).unwrap_err();
        assert!(trouble.to_string().contains("it has ended"), "{trouble}");
    }
    drop(orders);
}

#[test]
fn words_that_are_no_role_are_refused() {
    for words in [
        vec![],
        vec!["serve", "--at"],
        vec!["serve", "--at", "10.99.0.2"],
    ] {
        let words: Vec<_> = words.into_iter().map(OsString::from).collect();
        assert!(main(&words).is_err(), "{words:?}");
    }
}
