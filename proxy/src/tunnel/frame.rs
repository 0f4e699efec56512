//! Frames: a header of four bytes, a type and a length, and what they say.

use std::fmt;

use crate::refusal::{Reason, Refusal};

/// Bytes of a frame's header: the type, then the length of what follows, 24 bits, big endian.
pub(crate) const HEADER: usize = 4;
/// The most bytes that one DATA frame carries.
pub const MAX_DATA: usize = 256 << 10;
/// The most bytes that any other frame carries.
pub const MAX_CONTROL: usize = 1 << 10;

/// Numbers the leases of one tunnel: 1, 2, 3 and so on. Zero stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseNumber(pub u32);

impl fmt::Display for LeaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The types of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    Opened,
    Data,
    Eof,
    Reset,
    Close,
}

impl Kind {
    pub(crate) fn from_wire(byte: u8) -> Result<Self, Violation> {
        Ok(match byte {
            1 => Self::Open,
            2 => Self::Opened,
            3 => Self::Data,
            4 => Self::Eof,
            5 => Self::Reset,
            6 => Self::Close,
            unknown => return Err(Violation::UnknownFrame(unknown)),
        })
    }

    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Opened => 2,
            Self::Data => 3,
            Self::Eof => 4,
            Self::Reset => 5,
            Self::Close => 6,
        }
    }

    /// Whether a frame of this type may be `length` bytes long.
    pub(crate) fn allows(self, length: usize) -> bool {
        match self {
            Self::Open => (1..=MAX_CONTROL).contains(&length),
            Self::Data => (1..=MAX_DATA).contains(&length),
            Self::Opened | Self::Eof | Self::Close => length == 4,
            Self::Reset => length == 5,
        }
    }
}

/// Why a lease was reset, as the other end may know it. It is coarse on purpose: a peer that is
/// refused learns that it was, and the record of this end says by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCode {
    /// An application closed with a reset.
    Application,
    /// Policy refused the connection.
    Refused,
    /// The application could not be reached.
    Unreachable,
    /// The daemon is stopping or at a limit.
    Unavailable,
    /// The connection was idle for too long.
    Idle,
    /// A failure of the daemon's own.
    Internal,
    /// A code of a later version.
    Other(u8),
}

impl ResetCode {
    pub(crate) fn from_wire(byte: u8) -> Self {
        match byte {
            0 => Self::Application,
            1 => Self::Refused,
            2 => Self::Unreachable,
            3 => Self::Unavailable,
            4 => Self::Idle,
            5 => Self::Internal,
            other => Self::Other(other),
        }
    }

    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::Application => 0,
            Self::Refused => 1,
            Self::Unreachable => 2,
            Self::Unavailable => 3,
            Self::Idle => 4,
            Self::Internal => 5,
            Self::Other(other) => other,
        }
    }

    /// What the other end is told of a refusal.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::Reset | Reason::TunnelLost | Reason::PeerRefused => Self::Application,
            Reason::ConnectTimeout
            | Reason::ConnectRefused
            | Reason::Unreachable
            | Reason::ConnectFailed => Self::Unreachable,
            Reason::Draining
            | Reason::DrainDeadline
            | Reason::TooManyConnections
            | Reason::TooManyHandshakes => Self::Unavailable,
            Reason::IdleTimeout => Self::Idle,
            Reason::Internal => Self::Internal,
            _ => Self::Refused,
        }
    }

    /// The refusal that this end records when the other sends the code.
    pub fn refusal(self) -> Refusal {
        let (reason, detail) = match self {
            Self::Application => (Reason::Reset, "the application at the other end reset it"),
            Self::Refused => (Reason::PeerRefused, "its policy refused the connection"),
            Self::Unreachable => (Reason::PeerRefused, "it could not reach the application"),
            Self::Unavailable => (Reason::PeerRefused, "it is stopping or at a limit"),
            Self::Idle => (Reason::PeerRefused, "it closed the connection as idle"),
            Self::Internal => (Reason::PeerRefused, "it failed; its log says why"),
            Self::Other(code) => {
                return Refusal::new(
                    Reason::PeerRefused,
                    format!("it gave the code {code}, which this version does not know"),
                );
            }
        };
        Refusal::new(reason, detail)
    }
}

/// What a peer did that the format forbids. The tunnel is closed by a TCP reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame type that does not exist.
    #[error("a frame of the unknown type {0}")]
    UnknownFrame(u8),
    /// A length that the frame type does not allow.
    #[error("a frame of type {kind} with {length} bytes")]
    Length {
        /// The type, as on the wire.
        kind: u8,
        /// The length in its header.
        length: usize,
    },
    /// An OPEN that cannot be read.
    #[error("an OPEN whose {0}")]
    Open(&'static str),
    /// A frame that this role never receives, or not now.
    #[error("{what} while {while_}")]
    WrongState {
        /// The frame.
        what: &'static str,
        /// The state that it came in.
        while_: &'static str,
    },
    /// A frame with the number of another lease.
    #[error("{what} for lease {got} where lease {expected} was due")]
    WrongLease {
        /// The frame.
        what: &'static str,
        /// The number that it bears.
        got: LeaseNumber,
        /// The number that it should bear.
        expected: LeaseNumber,
    },
    /// More bytes before OPENED than a client may send.
    #[error("more than {} bytes before OPENED", super::REPLAY_LIMIT)]
    TooEager,
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self::new(Reason::TunnelProtocol, format!("the peer sent {violation}"))
    }
}

/// The header of a frame of `length` bytes.
pub(crate) fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    // Lengths are at most MAX_DATA, which fits 24 bits.
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [kind.to_wire(), high, middle, low]
}

/// OPENED, EOF or CLOSE.
pub(crate) fn numbered(kind: Kind, number: LeaseNumber) -> [u8; HEADER + 4] {
    let [a, b, c, d] = header(kind, 4);
    let [e, f, g, h] = number.0.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// RESET.
pub(crate) fn reset(number: LeaseNumber, code: ResetCode) -> [u8; HEADER + 5] {
    let [a, b, c, d] = header(Kind::Reset, 5);
    let [e, f, g, h] = number.0.to_be_bytes();
    [a, b, c, d, e, f, g, h, code.to_wire()]
}
