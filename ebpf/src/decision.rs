//! The decision: one pure function for the programs and for everything that explains them.

use crate::{
    addr::{Address, Endpoint},
    rules::{
        ACTION_DENY, ACTION_IGNORE, ACTION_NONE, ACTION_PLAIN, ACTION_REDIRECT, ACTION_TLS, DENIED,
        PROTOCOL_TCP, Rule, RuleKey,
    },
};

/// The lookups that a decision needs; maps in the kernel, a model of them elsewhere.
pub trait Tables {
    /// Class of the longest configured prefix that holds `address`.
    fn destination_class(&self, address: &Address) -> Option<u32>;
    /// The rule for a full key.
    fn rule(&self, key: &RuleKey) -> Option<Rule>;
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Where the application wants to go.
    pub destination: Endpoint,
    /// Class of the selections that it is in.
    pub selection: u32,
    /// `PROTOCOL_*`.
    pub protocol: u16,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule: leave it alone.
    Unmatched,
    /// A rule says to leave it alone.
    Ignore(Rule),
    /// connect() fails, or sending.
    Deny(Rule),
    /// To our proxy, or to that of somebody else. TCP alone.
    Redirect(Rule),
    /// A rule lets datagrams go their way.
    Pass(Rule),
}

/// Decides one connection or datagram in two lookups, whatever the number of rules.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, query: &Query) -> Verdict {
    let Some(class) = tables.destination_class(&query.destination.address()) else {
        return Verdict::Unmatched;
    };
    let key = RuleKey::new(
        class,
        query.selection,
        query.protocol,
        query.destination.port_be(),
    );
    let Some(rule) = tables.rule(&key) else {
        return Verdict::Unmatched;
    };
    match rule.action {
        ACTION_NONE => Verdict::Unmatched,
        ACTION_IGNORE => Verdict::Ignore(rule),
        ACTION_DENY => Verdict::Deny(rule),
        ACTION_PLAIN | ACTION_TLS | ACTION_REDIRECT if query.protocol == PROTOCOL_TCP => {
            Verdict::Redirect(rule)
        }
        ACTION_PLAIN => Verdict::Pass(rule),
        // Datagrams that nobody may see, of a cgroup that could turn out to be one to which they
        // are denied: no proxy takes them to find out.
        ACTION_TLS => Verdict::Deny(Rule {
            operand: DENIED,
            ..rule
        }),
        // A value that this version does not know: closed, never open.
        _ => Verdict::Deny(rule),
    }
}
