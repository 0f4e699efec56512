//! What the rules of a reload refuse and those before did not, among what is past the redirect.
//!
//! What was past the rules of before already is past those of now in the same way: it is left, as
//! `intercept.existing` and whoever looks at `sidetrack sockets` have decided.

use sidetrack_abi::rules::{
    ACTION_DENY, ACTION_IGNORE, ACTION_PLAIN, ACTION_REDIRECT, FAIL_PASS, Rule,
};

use super::{Owners, Surroundings, Uncovered, View};
use crate::{
    addr::OriginalDst,
    config::{Datagrams, OutboundAction, OutboundRule},
    kernel::{rules::Task, sockdiag::Connected},
    policy::Policy,
};

/// What a rule demands of what is past it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    /// It may go on as it is.
    Nothing,
    /// Its bytes must be in mutual TLS.
    Tls,
    /// It must not be.
    Denied,
}

/// The rules before and after a reload.
pub struct Change<'a> {
    /// Those that were in force.
    pub before: View<'a>,
    /// Those that are.
    pub now: View<'a>,
}

impl Change<'_> {
    /// Whether it is worth finding out whose the socket is: whoever it is, the rules of now could ask more
    /// of it than those before.
    pub fn could_refuse(&self, socket: &Connected) -> bool {
        let to = OriginalDst::new(socket.to);
        let demands = |view: &View<'_>| {
            let possible = view.policy.tables.possible(socket.protocol, to);
            let each = possible.into_iter().map(|rule| match rule {
                Some(rule) => Demand::of(socket, &rule),
                None => Demand::Nothing,
            });
            each.collect::<Vec<_>>()
        };
        let most = demands(&self.now).into_iter().max();
        // Where the rules of now ask nothing, those before need not be asked.
        most.is_some_and(|most| most > Demand::Nothing)
            && most > demands(&self.before).into_iter().min()
    }

    /// Judges one socket; `None` if it may go on.
    ///
    /// By who has it open; by the cgroup that it was made in only if nobody is seen, since a rule may
    /// be for some of a cgroup.
    pub fn refuses(
        &self,
        around: &Surroundings,
        socket: &Connected,
        owners: &Owners,
    ) -> Option<Uncovered> {
        let now = self.now.tasks(around, socket, owners)?;
        let before = self.before.tasks(around, socket, owners)?;
        let pairs = now.holders.iter().zip(&before.holders);
        let birth = now.birth.iter().zip(&before.birth);
        let birth = birth.filter(|_| now.holders.is_empty());
        let rule = pairs.chain(birth).find_map(|(now, before)| {
            let (demand, rule) = self.now.demand(socket, now)?;
            let before = self.before.demand(socket, before);
            (demand > before.map_or(Demand::Nothing, |(demand, _)| demand)).then_some(rule)
        })?;
        Some(self.now.uncovered(around, socket, owners, &rule))
    }
}

/// Whether the rules of `now` can refuse what those of `before` did not: the same ones cannot, and a
/// reload is mostly for certificates.
pub fn can_refuse(before: &Policy, now: &Policy) -> bool {
    let (before, now) = (&before.config, &now.config);
    let same = before.outbound == now.outbound
        && before.selects == now.selects
        && before.intercept.exclude_to == now.intercept.exclude_to;
    !same && now.outbound.iter().any(refuses)
}

fn refuses(rule: &OutboundRule) -> bool {
    match rule.action {
        OutboundAction::Mtls(_) | OutboundAction::Gateway { .. } | OutboundAction::Deny { .. } => {
            true
        }
        OutboundAction::Passthrough | OutboundAction::Redirect { .. } | OutboundAction::Ignore => {
            rule.protocols.udp == Datagrams::Denied
        }
    }
}

impl View<'_> {
    fn demand(&self, socket: &Connected, task: &Task<'_>) -> Option<(Demand, Rule)> {
        let rule = self.past(socket, task)?;
        Some((Demand::of(socket, &rule), rule))
    }
}

impl Demand {
    fn of(socket: &Connected, rule: &Rule) -> Self {
        let stays_home = socket.from.ip() == socket.to.ip();
        match rule.action {
            ACTION_PLAIN | ACTION_REDIRECT | ACTION_IGNORE => Self::Nothing,
            ACTION_DENY => Self::Denied,
            // The proxy carries such plain too.
            _ if stays_home => Self::Nothing,
            // The program lets such pass under this rule.
            _ if socket.device != 0 && rule.fail == FAIL_PASS => Self::Nothing,
            _ => Self::Tls,
        }
    }
}

#[cfg(test)]
mod tests;
