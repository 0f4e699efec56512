//! The protocols that outbound rules decide for.

use sidetrack_abi::rules::{PROTOCOL_TCP, PROTOCOL_UDP};

/// A protocol that rules know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, MPTCP with it.
    Tcp,
    /// UDP, QUIC with it.
    Udp,
}

impl Protocol {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Its number in the kernel's tables.
    pub const fn number(self) -> u16 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    /// As rules write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What an outbound rule says of each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// Whether its action holds for TCP.
    pub tcp: bool,
    /// What holds for UDP.
    pub udp: Datagrams,
}

/// What an outbound rule says of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagrams {
    /// Nothing: another rule may decide.
    Unruled,
    /// Its action holds: `protocol = "udp"` or `"any"`.
    ByAction,
    /// Denied, beside an action that is about TCP: `udp = "deny"`.
    Denied,
    /// Let through, beside an action that is about TCP: `udp = "pass"`.
    Passed,
}

impl Protocols {
    /// The action, for TCP alone.
    pub const TCP: Self = Self {
        tcp: true,
        udp: Datagrams::Unruled,
    };
    /// The action, for UDP alone.
    pub const UDP: Self = Self {
        tcp: false,
        udp: Datagrams::ByAction,
    };
    /// The action, for both.
    pub const ANY: Self = Self {
        tcp: true,
        udp: Datagrams::ByAction,
    };

    /// Whether the rule decides for `protocol` at all.
    pub fn decide(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp != Datagrams::Unruled,
        }
    }

    /// Whether the rule's action is for a protocol that the other's is for, too.
    pub fn overlap(self, other: Self) -> bool {
        let datagrams = |one: Self| one.udp == Datagrams::ByAction;
        (self.tcp && other.tcp) || (datagrams(self) && datagrams(other))
    }
}
