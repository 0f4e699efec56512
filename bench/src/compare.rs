//! What moved since an earlier run.

use crate::{
    case::Merit,
    report::{Answer, Column, Report},
    statistics::{self, Figure},
};

/// An earlier run beside a later one.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What differs between the hosts, so that ratios may have moved by themselves.
    pub warnings: Vec<String>,
    /// Ratios that moved: their intervals have nothing in common. The largest change first.
    pub moved: Vec<Change>,
    /// Ratios that did not, or of which there were too few rounds to tell; the largest change first.
    pub rest: Vec<Change>,
    /// What only one of the two has.
    pub only_one: Vec<String>,
}

/// A figure then and now.
#[derive(Clone, Debug)]
pub struct Change {
    /// The case.
    pub case: String,
    /// The path.
    pub path: String,
    /// What it is divided by in the same round. None: memory, which does not depend on how fast a machine is.
    pub against: Option<String>,
    /// Which merit.
    pub merit: Merit,
    /// In the earlier run.
    pub then: Figure,
    /// In the later one.
    pub now: Figure,
}

impl Change {
    /// By which factor it changed.
    pub fn factor(&self) -> f64 {
        self.now.median / self.then.median
    }

    /// Whether the change is for the better.
    pub fn is_better(&self) -> bool {
        (self.factor() < 1.0) != self.merit.more_is_better()
    }

    fn moved(&self) -> bool {
        match (self.then.interval, self.now.interval) {
            (Some(then), Some(now)) => then.is_apart_from(&now),
            _ => false,
        }
    }
}

/// What moved from `then` to `now`.
pub fn compare(then: &Report, now: &Report) -> Comparison {
    let mut only_one = Vec::new();
    let mut changes = Vec::new();
    for answer in &now.cases {
        match then.case(&answer.name) {
            Some(earlier) if earlier.load == answer.load => {
                between(earlier, answer, &mut changes, &mut only_one);
            }
            Some(_) => only_one.push(format!("{}: its load is another one now", answer.name)),
            None => only_one.push(format!("{}: only in this run", answer.name)),
        }
    }
    let gone = then
        .cases
        .iter()
        .filter(|answer| now.case(&answer.name).is_none());
    only_one.extend(gone.map(|answer| format!("{}: only in the earlier run", answer.name)));
    changes.sort_by(|a, b| b.factor().ln().abs().total_cmp(&a.factor().ln().abs()));
    let (moved, rest) = changes.into_iter().partition(Change::moved);
    Comparison {
        warnings: then.machine.differences(&now.machine),
        moved,
        rest,
        only_one,
    }
}

/// Both by the first path that both have, whatever stood first in each.
fn between(then: &Answer, now: &Answer, changes: &mut Vec<Change>, only_one: &mut Vec<String>) {
    let mut both = Vec::new();
    for column in now.measured() {
        match then.measured().find(|earlier| earlier.path == column.path) {
            Some(earlier) => both.push((earlier, column)),
            None => only_one.push(format!(
                "{}: {} only in this run",
                now.name,
                column.path.label()
            )),
        }
    }
    for merit in now.merits.iter().copied() {
        let has = |column: &Column| statistics::figure(merit, &column.rounds).is_some();
        let mut with = both
            .iter()
            .filter(|(earlier, column)| has(earlier) && has(column));
        let against = if merit.is_absolute() {
            None
        } else {
            with.next()
        };
        for (earlier, column) in with {
            let figure = |column: &Column, base: Option<&Column>| match base {
                Some(base) => statistics::ratio(merit, &column.rounds, &base.rounds),
                None => statistics::figure(merit, &column.rounds),
            };
            let then = figure(earlier, against.map(|(base, _)| *base));
            let later = figure(column, against.map(|(_, base)| *base));
            if let (Some(then), Some(later)) = (then, later) {
                changes.push(Change {
                    case: now.name.clone(),
                    path: column.path.label(),
                    against: against.map(|(_, base)| base.path.label()),
                    merit,
                    then,
                    now: later,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
