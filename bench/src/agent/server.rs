//! The role that answers: each connection says what it wants, see [`Verb`].

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use super::{
    verb::{BYTE, Undecoded, Verb},
    workers,
};
use crate::{
    Trouble,
    load::{files, stream},
};

mod held;

use held::Held;

/// Listens at `at`, says so in one line, and serves until it is killed.
pub(super) fn run(at: SocketAddr) -> Result<(), Trouble> {
    files::raise()?;
    let listener = workers::listen(at)?;
    println!("listening at {at}");
    Err(serve(listener))
}

/// Serves who connects to `listener`; comes back with why it can no longer.
pub(super) fn serve(listener: TcpListener) -> Trouble {
    let held = match Held::start() {
        Ok(held) => held,
        Err(trouble) => return trouble,
    };
    workers::serve(listener, move |stream, scratch| {
        // Whatever fails here, the client sees and tells; some of its loads end by a reset.
        let _ = answer(stream, scratch, &held);
    })
}

fn answer(mut stream: TcpStream, scratch: &mut [u8], held: &Held) -> io::Result<()> {
    let mut have = 0;
    let (verb, used) = loop {
        let got = stream.read(scratch.get_mut(have..).unwrap_or_default())?;
        if got == 0 {
            return Ok(());
        }
        have += got;
        match Verb::decode(scratch.get(..have).unwrap_or_default()) {
            Ok(whole) => break whole,
            Err(Undecoded::Short) => {}
            Err(Undecoded::Unknown) => return Err(io::ErrorKind::InvalidData.into()),
        }
    };
    match verb {
        Verb::One => stream.write_all(&BYTE),
        Verb::Hold => {
            stream.write_all(&BYTE)?;
            held.hold(stream)
        }
        Verb::Exchange {
            request,
            answer,
            last,
        } => {
            let exchange = Exchange {
                request: u64::from(request.max(1)),
                answer: u64::from(answer),
                last,
            };
            exchange.run(&mut stream, scratch, (have - used) as u64)
        }
        Verb::Bulk { way, write, span } => stream::answer(stream, way, write, span),
    }
}

struct Exchange {
    request: u64,
    answer: u64,
    last: bool,
}

impl Exchange {
    /// `have` bytes of requests have come with the verb. What bytes say does not matter: the buffer
    /// that requests are read into is what answers are written from.
    fn run(&self, stream: &mut TcpStream, buffer: &mut [u8], mut have: u64) -> io::Result<()> {
        loop {
            let whole = have / self.request;
            have %= self.request;
            let mut owed = whole * self.answer;
            while owed > 0 {
                let size = usize::try_from(owed)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                stream.write_all(buffer.get(..size).unwrap_or_default())?;
                owed -= size as u64;
            }
            if self.last && whole > 0 {
                return Ok(());
            }
            let got = stream.read(buffer)?;
            if got == 0 {
                return Ok(());
            }
            have += got as u64;
        }
    }
}
