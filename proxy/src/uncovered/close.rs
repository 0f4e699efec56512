//! Closing what is past the redirect, so that its application connects again and is redirected.

use std::collections::{HashMap, hash_map::Entry};

use serde::{Deserialize, Serialize};

use super::{Uncovered, Why};
use crate::{
    kernel::sockdiag::{CloseError, Closed, Closer},
    record::{Direction, Record, RecordSink},
    refusal::{Reason, Refusal},
};

/// Which of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Which {
    /// Only those past this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Only those that this process has open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Only those in this network namespace, see [`Uncovered::is_in`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Close none, and say which would be.
    #[serde(default)]
    pub dry_run: bool,
}

impl Which {
    fn holds(&self, uncovered: &Uncovered) -> bool {
        let rule = self.rule.as_ref();
        let of_pid = |pid| uncovered.holders.iter().any(|holder| holder.pid == pid);
        rule.is_none_or(|rule| uncovered.rule.as_ref() == Some(rule))
            && self.pid.is_none_or(of_pid)
            && self
                .netns
                .as_ref()
                .is_none_or(|netns| uncovered.is_in(netns))
            && uncovered.may_be_closed()
    }
}

/// On whose word.
#[derive(Clone, Copy, Debug)]
pub enum Cause {
    /// Somebody asked for it, or `intercept.existing` says so.
    Asked,
    /// A reload.
    Reload,
}

impl Cause {
    fn refusal(self, why: Why) -> Refusal {
        match self {
            Self::Asked => Refusal::new(Reason::NotCovered, format!("closed: {why}")),
            Self::Reload => Refusal::new(
                Reason::PolicyChanged,
                format!("a reload refuses it, which was past the redirect: {why}"),
            ),
        }
    }
}

/// What was done.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Closed; with `dry_run`, what would be.
    pub closed: Vec<Uncovered>,
    /// What stays: not asked for, or nobody's connect() to be made again.
    pub left: usize,
    /// Had gone by itself meanwhile.
    pub gone: usize,
    /// Why the kernel closes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Closes those of `all` that `which` names. Each has an access record.
pub fn close(all: Vec<Uncovered>, which: &Which, cause: Cause, sink: &RecordSink) -> Outcome {
    let mut outcome = Outcome::default();
    let (wanted, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| which.holds(one));
    outcome.left = rest.len();
    if which.dry_run {
        outcome.closed = wanted;
        return outcome;
    }
    if let Err(error) = close_each(wanted, cause, sink, &mut outcome) {
        outcome.error = Some(error.to_string());
    }
    outcome
}

fn close_each(
    wanted: Vec<Uncovered>,
    cause: Cause,
    sink: &RecordSink,
    outcome: &mut Outcome,
) -> Result<(), CloseError> {
    // The kernel looks for a socket in the namespace of the one that it is asked through.
    let mut closers: HashMap<u64, Closer> = HashMap::new();
    for uncovered in wanted {
        let closer = match closers.entry(uncovered.inside.cookie()) {
            Entry::Occupied(closer) => closer.into_mut(),
            Entry::Vacant(place) => place.insert(Closer::inside(&uncovered.inside)?),
        };
        match closer.close(&uncovered.socket)? {
            Closed::Now => {
                record(&uncovered, cause, sink);
                outcome.closed.push(uncovered);
            }
            Closed::Before => outcome.gone += 1,
        }
    }
    Ok(())
}

fn record(uncovered: &Uncovered, cause: Cause, sink: &RecordSink) {
    let mut record = Record::begin(sink, Direction::Outbound, uncovered.source);
    record.protocol = uncovered.socket.protocol;
    record.destination = Some(uncovered.destination);
    record.pid = uncovered.holders.first().map(|holder| holder.pid);
    record.uid = uncovered.holders.first().map(|holder| holder.uid);
    record.netns = uncovered.netns;
    record.rule = uncovered.rule.as_deref().map(Into::into);
    record.refuse(cause.refusal(uncovered.why));
}
