//! The two applications: blocking sockets, so that they cost as little as can be.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{Case, Work};

/// Reads to the end and answers how much that was.
fn swallow(mut socket: &TcpStream) -> u64 {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match socket.read(&mut buffer).unwrap() {
            0 => return total,
            count => total += count as u64,
        }
    }
}

fn pour(mut socket: &TcpStream, case: &Case) {
    let block = vec![7; case.write];
    for _ in 0..case.writes {
        socket.write_all(&block).unwrap();
    }
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Carries `pours` and `swallows` out at the same time; what is swallowed must be all that was poured.
fn work(socket: &TcpStream, case: &Case, pours: bool, swallows: bool) {
    thread::scope(|scope| {
        if pours {
            scope.spawn(|| pour(socket, case));
        } else {
            socket.shutdown(Shutdown::Write).unwrap();
        }
        let got = swallow(socket);
        let due = if swallows {
            case.write as u64 * case.writes
        } else {
            0
        };
        assert_eq!(got, due, "bytes were lost");
    });
}

/// The server of one connection.
pub(crate) fn serve(listener: &TcpListener, case: &Case) {
    let (mut socket, _) = listener.accept().unwrap();
    match case.work {
        Work::Up => work(&socket, case, false, true),
        Work::Down => work(&socket, case, true, false),
        Work::Both => work(&socket, case, true, true),
        Work::RoundTrips => {
            socket.set_nodelay(true).unwrap();
            let mut message = vec![0; case.write];
            for _ in 0..case.writes {
                socket.read_exact(&mut message).unwrap();
                socket.write_all(&message).unwrap();
            }
            assert_eq!(swallow(&socket), 0);
        }
    }
}

/// The client of one connection. Answers how long it took, and each of the round trips.
pub(crate) fn ask(mut socket: TcpStream, case: &Case) -> (f64, Vec<Duration>) {
    let begun = Instant::now();
    let mut latencies = Vec::new();
    match case.work {
        Work::Up => work(&socket, case, true, false),
        Work::Down => work(&socket, case, false, true),
        Work::Both => work(&socket, case, true, true),
        Work::RoundTrips => {
            socket.set_nodelay(true).unwrap();
            let mut message = vec![7; case.write];
            latencies.reserve(case.writes as usize);
            for _ in 0..case.writes {
                let sent = Instant::now();
                socket.write_all(&message).unwrap();
                socket.read_exact(&mut message).unwrap();
                latencies.push(sent.elapsed());
            }
        }
    }
    (begun.elapsed().as_secs_f64(), latencies)
}
