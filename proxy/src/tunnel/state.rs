//! The rules of one lease, without input or output: which frames are legal now, in both
//! directions, and when both have ended.

use super::{
    DISCARD_LIMIT, REPLAY_LIMIT,
    decode::Event,
    frame::{LeaseNumber, ResetCode, Violation},
};

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It asks for leases.
    Client,
    /// It accepts them.
    Server,
}

/// One direction of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    Eof,
    Reset,
}

/// What is to be done about a frame that arrived in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes for the application.
    Deliver(usize),
    /// So many bytes for nobody: the application is gone.
    Discard(usize),
    /// The same, and they are more than [`DISCARD_LIMIT`] by now: the peer cannot be told to
    /// stop but by closing the tunnel.
    Overrun(usize),
    /// The server reached the application.
    Opened,
    /// The peer's application will send no more.
    Eof,
    /// The peer's side was reset.
    Reset(ResetCode),
    /// The server closes the tunnel after this lease.
    Closing,
    /// The server closes the tunnel and never took this lease.
    NotAccepted,
}

/// One lease, seen from one end.
#[derive(Debug)]
pub(crate) struct Lease {
    role: Role,
    number: LeaseNumber,
    /// OPENED was sent or received.
    opened: bool,
    /// Bytes of the client before OPENED, counted at both ends.
    eager: usize,
    sent: Half,
    received: Half,
    discarded: Option<usize>,
    closing: bool,
}

impl Lease {
    pub(crate) fn new(role: Role, number: LeaseNumber) -> Self {
        Self {
            role,
            number,
            opened: false,
            eager: 0,
            sent: Half::Open,
            received: Half::Open,
            discarded: None,
            closing: false,
        }
    }

    pub(crate) fn number(&self) -> LeaseNumber {
        self.number
    }

    /// Judges a frame of the peer.
    pub(crate) fn receive(&mut self, event: &Event) -> Result<Received, Violation> {
        match (event, self.role) {
            (Event::Data(count), _) => self.data(*count),
            (Event::Opened(number), Role::Client) => {
                self.ours("OPENED", *number)?;
                self.still_open("OPENED")?;
                if self.opened {
                    return Err(wrong("OPENED", "the lease is open already"));
                }
                self.opened = true;
                Ok(Received::Opened)
            }
            (Event::Eof(number), _) => {
                self.ours("EOF", *number)?;
                self.still_open("EOF")?;
                self.after_opened("EOF")?;
                self.received = Half::Eof;
                Ok(Received::Eof)
            }
            (Event::Reset(number, code), _) => {
                self.ours("RESET", *number)?;
                self.still_open("RESET")?;
                self.received = Half::Reset;
                Ok(Received::Reset(*code))
            }
            (Event::Close(last), Role::Client) => self.close(*last),
            (Event::Open(..), Role::Client) => Err(wrong("OPEN", "it is the server")),
            (Event::Open(..), Role::Server) => Err(wrong("OPEN", "a lease is running")),
            (Event::Opened(_), Role::Server) => Err(wrong("OPENED", "it is the client")),
            (Event::Close(_), Role::Server) => Err(wrong("CLOSE", "it is the client")),
        }
    }

    fn data(&mut self, count: usize) -> Result<Received, Violation> {
        self.still_open("DATA")?;
        self.after_opened("DATA")?;
        if self.role == Role::Server && !self.opened {
            self.eager += count;
            if self.eager > REPLAY_LIMIT {
                return Err(Violation::TooEager);
            }
        }
        let Some(discarded) = &mut self.discarded else {
            return Ok(Received::Deliver(count));
        };
        *discarded = discarded.saturating_add(count);
        if *discarded > DISCARD_LIMIT {
            return Ok(Received::Overrun(count));
        }
        Ok(Received::Discard(count))
    }

    fn close(&mut self, last: LeaseNumber) -> Result<Received, Violation> {
        if self.closing {
            return Err(wrong("CLOSE", "it had sent one"));
        }
        if last > self.number {
            return Err(Violation::WrongLease {
                what: "CLOSE",
                got: last,
                expected: self.number,
            });
        }
        self.closing = true;
        if last == self.number {
            return Ok(Received::Closing);
        }
        if self.answered() {
            return Err(wrong(
                "CLOSE",
                "it had answered the lease that it now disowns",
            ));
        }
        Ok(Received::NotAccepted)
    }

    fn ours(&self, what: &'static str, got: LeaseNumber) -> Result<(), Violation> {
        if got == self.number {
            return Ok(());
        }
        Err(Violation::WrongLease {
            what,
            got,
            expected: self.number,
        })
    }

    fn still_open(&self, what: &'static str) -> Result<(), Violation> {
        match self.received {
            Half::Open => Ok(()),
            Half::Eof => Err(wrong(what, "it had sent EOF")),
            Half::Reset => Err(wrong(what, "it had sent RESET")),
        }
    }

    fn after_opened(&self, what: &'static str) -> Result<(), Violation> {
        if self.role == Role::Client && !self.opened {
            return Err(wrong(what, "it had not sent OPENED"));
        }
        Ok(())
    }

    /// Whether any frame of the lease arrived.
    pub(crate) fn answered(&self) -> bool {
        self.opened || self.received != Half::Open
    }

    /// How many bytes of the application may be sent now. Until the server answers, a client
    /// sends no more than it can keep a copy of.
    pub(crate) fn allowance(&self) -> usize {
        if self.sent != Half::Open {
            return 0;
        }
        match self.role {
            Role::Client if !self.answered() => REPLAY_LIMIT.saturating_sub(self.eager),
            Role::Server if !self.opened => 0,
            _ => usize::MAX,
        }
    }

    /// Notes that `count` bytes of the application are on their way to the peer.
    pub(crate) fn send_data(&mut self, count: usize) {
        if self.role == Role::Client && !self.answered() {
            self.eager += count;
        }
    }

    /// Whether OPENED is to be sent: the application was reached.
    pub(crate) fn send_opened(&mut self) -> bool {
        let first = self.role == Role::Server && !self.opened;
        self.opened |= first;
        first
    }

    /// Whether EOF is to be sent: our application will send no more.
    pub(crate) fn send_eof(&mut self) -> bool {
        let first = self.sent == Half::Open;
        if first {
            self.sent = Half::Eof;
        }
        first
    }

    /// Our application is gone: what still comes for it is discarded, within limits. Answers
    /// whether RESET is to be sent; after EOF it is not, since a direction ends once.
    pub(crate) fn send_reset(&mut self) -> bool {
        self.discarded.get_or_insert(0);
        let first = self.sent == Half::Open;
        if first {
            self.sent = Half::Reset;
        }
        first
    }

    /// Whether both directions have ended, so that the next lease may follow.
    pub(crate) fn is_over(&self) -> bool {
        self.sent != Half::Open && self.received != Half::Open
    }

    /// Whether our direction has ended.
    pub(crate) fn sent_all(&self) -> bool {
        self.sent != Half::Open
    }

    /// Whether the peer's direction has ended.
    pub(crate) fn received_all(&self) -> bool {
        self.received != Half::Open
    }

    /// Whether the peer said that this lease is the tunnel's last.
    pub(crate) fn is_last(&self) -> bool {
        self.closing
    }
}

fn wrong(what: &'static str, while_: &'static str) -> Violation {
    Violation::WrongState { what, while_ }
}

#[cfg(test)]
mod tests;
