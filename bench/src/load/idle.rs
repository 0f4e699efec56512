//! [`Load::Idle`](super::Load::Idle).

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
};

use super::{
    LONGEST, Moment, PATIENCE, Tally,
    dial::{Deadline, Dial, read_to_end},
    files,
    tally::Failed,
};
use crate::{
    Trouble,
    agent::{BYTE, Kept, Verb},
    measured::Sample,
};

/// So many are opened at once: a path with handshakes takes milliseconds for each.
const OPENERS: u32 = 8;

/// Opens so many, and leaves them in `kept`.
pub(super) fn open(to: SocketAddr, connections: u32, kept: &mut Kept) -> Result<Sample, Trouble> {
    files::suffice(connections)?;
    let dial = Dial::new(to);
    let dial = &dial;
    let mut total = Tally::new()?;
    let deadline = Deadline::after(LONGEST);
    let from = Moment::now();
    let opened = thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| {
                let share = (opener..connections).step_by(OPENERS as usize);
                scope.spawn(move || {
                    share
                        .map(|_| {
                            deadline.check()?;
                            one(dial)
                        })
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        openers
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    for part in opened {
        match part {
            Ok(Ok(streams)) => {
                // A byte each way.
                total.done_untimed(streams.len() as u64, 2 * streams.len() as u64);
                kept.idle.extend(streams);
            }
            Ok(Err(failed)) => total.failed(failed),
            Err(_) => total.failed("a thread of the client panicked"),
        }
    }
    Ok(total.finish(Moment::now().since(from)))
}

fn one(dial: &Dial) -> Result<TcpStream, Failed> {
    let mut stream = dial.open(Verb::Hold)?;
    let got = stream
        .read(&mut [0])
        .map_err(Failed::at("waiting for the first byte"))?;
    if got == 0 {
        return Err(Failed::ended("waiting for the first byte"));
    }
    Ok(stream)
}

/// Has the server close them: its end of each hop then has TIME_WAIT, and no port of the client is
/// taken by it. What fails here fails in the next load too, which tells it.
pub(super) fn close(streams: Vec<TcpStream>) {
    let deadline = Deadline::after(PATIENCE);
    for mut stream in &streams {
        let _ = stream.write_all(&BYTE);
    }
    for mut stream in streams {
        if deadline.check().is_err() {
            return;
        }
        let _ = read_to_end(&mut stream, &mut [0; 16]);
    }
}
