//! What the first bytes on a connection ask of the server.

use crate::load::{Moment, Span, Way};

/// The request and the answer of [`Verb::One`], and the answer of [`Verb::Hold`].
pub(crate) const BYTE: [u8; 1] = *b"1";

/// What a server does on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Answers this one byte by one, and closes.
    One,
    /// Answers each `request` bytes by `answer` bytes, until the end or, if `last`, once; then it
    /// closes. That the server closes first leaves TIME_WAIT at its end of each hop, where no
    /// ephemeral port is taken by it.
    Exchange {
        request: u32,
        answer: u32,
        last: bool,
    },
    /// Bytes without end: writes of `write` bytes for `span`, if they go down. If they go up, it reads
    /// to the end, and says last what it received.
    Bulk { way: Way, write: u32, span: Span },
    /// Answers by one byte, and closes when the next one comes.
    Hold,
}

/// Why bytes are no verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecoded {
    /// They are too few to tell.
    Short,
    /// There is none that begins like this.
    Unknown,
}

impl Verb {
    /// As bytes, the numbers little-endian.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::One => BYTE.to_vec(),
            Self::Hold => b"H".to_vec(),
            Self::Exchange {
                request,
                answer,
                last,
            } => {
                let mut bytes = b"X".to_vec();
                bytes.extend(request.to_le_bytes());
                bytes.extend(answer.to_le_bytes());
                bytes.push(u8::from(last));
                bytes
            }
            Self::Bulk { way, write, span } => {
                let mut bytes = b"B".to_vec();
                bytes.push(match way {
                    Way::Up => 0,
                    Way::Down => 1,
                    Way::Both => 2,
                });
                bytes.extend(write.to_le_bytes());
                bytes.extend(span.from.nanos().to_le_bytes());
                bytes.extend(span.until.nanos().to_le_bytes());
                bytes
            }
        }
    }

    /// What `bytes` begin with, and how many of them it is.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, usize), Undecoded> {
        let mut rest = bytes;
        let verb = match take(&mut rest)? {
            BYTE => Self::One,
            [b'H'] => Self::Hold,
            [b'X'] => Self::Exchange {
                request: u32::from_le_bytes(take(&mut rest)?),
                answer: u32::from_le_bytes(take(&mut rest)?),
                last: take(&mut rest)? != [0],
            },
            [b'B'] => Self::Bulk {
                way: match take(&mut rest)? {
                    [0] => Way::Up,
                    [1] => Way::Down,
                    [2] => Way::Both,
                    _ => return Err(Undecoded::Unknown),
                },
                write: u32::from_le_bytes(take(&mut rest)?),
                span: Span {
                    from: Moment::from_nanos(u64::from_le_bytes(take(&mut rest)?)),
                    until: Moment::from_nanos(u64::from_le_bytes(take(&mut rest)?)),
                },
            },
            _ => return Err(Undecoded::Unknown),
        };
        Ok((verb, bytes.len() - rest.len()))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Undecoded> {
    let (first, others) = rest.split_first_chunk().ok_or(Undecoded::Short)?;
    *rest = others;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_read_from_the_bytes_that_it_was_written_to_and_from_no_fewer() {
        let span = Span {
            from: Moment::from_nanos(7),
            until: Moment::from_nanos(1 << 40),
        };
        for verb in [
            Verb::One,
            Verb::Hold,
            Verb::Exchange {
                request: 1,
                answer: 70_000,
                last: true,
            },
            Verb::Bulk {
                way: Way::Both,
                write: 64,
                span,
            },
        ] {
            let mut bytes = verb.encode();
            let length = bytes.len();
            for short in 0..length {
                assert_eq!(
                    Verb::decode(&bytes[..short]),
                    Err(Undecoded::Short),
                    "{verb:?}"
                );
            }
            bytes.extend(b"and what comes after");
            assert_eq!(Verb::decode(&bytes), Ok((verb, length)));
        }
        assert_eq!(Verb::decode(b"GET / HTTP/1.1"), Err(Undecoded::Unknown));
        assert_eq!(Verb::decode(b"B\x03"), Err(Undecoded::Unknown));
    }
}
