//! Both applications: blocking sockets, a thread for each direction.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use crate::{
    Case, Figures, Way, Work,
    middle::{Middle, cpu_seconds},
};

/// What one read takes at most.
const READ: usize = 256 << 10;

/// What is carried each way before the round trips of [`Work::AfterBulk`].
const BULK: Case = Case {
    work: Work::Both,
    write: 64 << 10,
    writes: 256,
};

/// One connection, that way.
pub(crate) fn run(way: Way, case: Case) -> Figures {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let middle = (way != Way::Direct).then(|| Middle::start(way, server));
    let client = TcpStream::connect(middle.as_ref().map_or(server, Middle::address)).unwrap();
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    if case.work == Work::AfterBulk {
        carry(&client, &server, BULK);
    }
    let relay = || middle.as_ref().map_or(0.0, Middle::cpu_seconds);
    let before = (cpu_seconds(), relay());
    let began = Instant::now();
    match case.work {
        Work::Up | Work::Both => carry(&client, &server, case),
        Work::RoundTrips | Work::AfterBulk => ask(&client, &server, case),
    }
    Figures {
        seconds: began.elapsed().as_secs_f64(),
        relay: relay() - before.1,
        all: cpu_seconds() - before.0,
    }
}

/// Carries the bytes of a bulk case.
fn carry(client: &TcpStream, server: &TcpStream, case: Case) {
    let bytes = case.write as u64 * case.writes;
    thread::scope(|threads| {
        threads.spawn(|| write(client, case));
        if case.work == Work::Both {
            threads.spawn(|| write(server, case));
            threads.spawn(|| read(client, bytes));
        }
        read(server, bytes);
    });
}

/// Carries the round trips of a case.
fn ask(client: &TcpStream, server: &TcpStream, case: Case) {
    thread::scope(|threads| {
        threads.spawn(|| {
            let (mut socket, mut message) = (server, vec![0; case.write]);
            for _ in 0..case.writes {
                socket.read_exact(&mut message).unwrap();
                socket.write_all(&message).unwrap();
            }
        });
        let (mut socket, mut message) = (client, vec![7; case.write]);
        for _ in 0..case.writes {
            socket.write_all(&message).unwrap();
            socket.read_exact(&mut message).unwrap();
        }
    });
}

fn write(mut socket: &TcpStream, case: Case) {
    let message = vec![7; case.write];
    for _ in 0..case.writes {
        socket.write_all(&message).unwrap();
    }
}

fn read(mut socket: &TcpStream, bytes: u64) {
    let mut room = vec![0; READ];
    let mut left = bytes;
    while left > 0 {
        let got = socket.read(&mut room).unwrap();
        assert_ne!(got, 0, "the connection ended before its time");
        left -= got as u64;
    }
}
