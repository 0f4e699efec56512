//! Frames out of bytes that arrive in pieces of any size.

use super::{
    frame::{HEADER, Kind, LeaseNumber, ResetCode, Violation},
    open::Open,
};

/// One frame, or the beginning or continuation of a DATA frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client asks for a lease.
    Open(LeaseNumber, Open),
    /// The server reached the application.
    Opened(LeaseNumber),
    /// The next `0` bytes of the input are the application's; the caller takes them off it.
    /// A DATA frame is several of these if it arrives in pieces.
    Data(usize),
    /// The application will send no more.
    Eof(LeaseNumber),
    /// The lease was reset.
    Reset(LeaseNumber, ResetCode),
    /// No lease above this one will be, or was, accepted.
    Close(LeaseNumber),
}

/// Decodes one direction of a tunnel. It keeps at most one incomplete control frame
/// ([`super::frame::MAX_CONTROL`]); DATA is never copied.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Header {
        got: [u8; HEADER],
        filled: usize,
    },
    Control {
        kind: Kind,
        length: usize,
        got: Vec<u8>,
    },
    Data {
        left: usize,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Header {
            got: [0; HEADER],
            filled: 0,
        }
    }
}

impl Decoder {
    /// Whether the next byte begins a frame.
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Header { filled: 0, .. })
    }

    /// Takes what it can off the front of `input` and answers how many bytes that was, and the
    /// event that they completed. The bytes of [`Event::Data`] come after those and are not
    /// among them. No event means that `input` is used up.
    ///
    /// # Errors
    /// The peer broke the format; nothing after that can be understood.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Violation> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            match &mut self.state {
                State::Header { got, filled } => {
                    for (place, byte) in got.iter_mut().skip(*filled).zip(rest) {
                        *place = *byte;
                        *filled += 1;
                        used += 1;
                    }
                    if *filled < HEADER {
                        return Ok((used, None));
                    }
                    let [kind, high, middle, low] = *got;
                    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                    self.state = begin(kind, length)?;
                }
                State::Data { left } => {
                    let here = rest.len().min(*left);
                    if here == 0 {
                        return Ok((used, None));
                    }
                    *left -= here;
                    if *left == 0 {
                        self.state = State::default();
                    }
                    return Ok((used, Some(Event::Data(here))));
                }
                State::Control { kind, length, got } => {
                    let missing = *length - got.len();
                    let here = rest.get(..missing.min(rest.len())).unwrap_or_default();
                    used += here.len();
                    if here.len() < missing {
                        got.extend_from_slice(here);
                        return Ok((used, None));
                    }
                    let event = if got.is_empty() {
                        control(*kind, here)?
                    } else {
                        got.extend_from_slice(here);
                        control(*kind, got)?
                    };
                    self.state = State::default();
                    return Ok((used, Some(event)));
                }
            }
        }
    }
}

fn begin(kind: u8, length: usize) -> Result<State, Violation> {
    let known = Kind::from_wire(kind)?;
    if !known.allows(length) {
        return Err(Violation::Length { kind, length });
    }
    Ok(match known {
        Kind::Data => State::Data { left: length },
        kind => State::Control {
            kind,
            length,
            got: Vec::new(),
        },
    })
}

fn control(kind: Kind, payload: &[u8]) -> Result<Event, Violation> {
    let wrong = Violation::Length {
        kind: kind.to_wire(),
        length: payload.len(),
    };
    if kind == Kind::Open {
        return Open::decode(payload).map(|(number, open)| Event::Open(number, open));
    }
    let Some((number, rest)) = payload.split_first_chunk::<4>() else {
        return Err(wrong);
    };
    let number = LeaseNumber(u32::from_be_bytes(*number));
    match (kind, rest) {
        (Kind::Opened, []) => Ok(Event::Opened(number)),
        (Kind::Eof, []) => Ok(Event::Eof(number)),
        (Kind::Close, []) => Ok(Event::Close(number)),
        (Kind::Reset, [code]) => Ok(Event::Reset(number, ResetCode::from_wire(*code))),
        _ => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
