//! Cgroups that should be in the kernel's table and are not, for want of room: their connections
//! have the strictest rule that could be theirs, and the proxy finds out which it is.

use std::{collections::BTreeMap, path::Path};

use sidetrack_abi::names::CGROUP_ENTRIES;

use crate::kernel::{KernelError, cgroup::whose, effective::Fault};

/// What has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// The cgroup itself.
    Cgroups,
    /// The rules of its class.
    Rules,
}

/// Those of one rule set.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// By their ids.
    cgroups: BTreeMap<u64, Why>,
    /// What the log has told of.
    told: Vec<Why>,
}

impl LeftOut {
    /// All of them are about to be tried again, those that are still there.
    pub(super) fn look_again(&mut self) {
        self.cgroups.clear();
    }

    /// A cgroup was tried, and what came of it.
    pub(super) fn tried(&mut self, id: u64, why: Option<Why>) {
        match why {
            Some(why) => self.cgroups.insert(id, why),
            None => self.cgroups.remove(&id),
        };
    }

    /// Writes of each cause once to the log.
    pub(super) fn warn(&mut self, mount: &Path, why: Option<&KernelError>) {
        for cause in [Why::Cgroups, Why::Rules] {
            if !self.told.contains(&cause)
                && let Some(Fault { what, fix }) = self.fault(cause, mount, why)
            {
                tracing::warn!("{what}; {fix}");
                self.told.push(cause);
            }
        }
    }

    /// How much the log was told.
    #[cfg(test)]
    pub(super) fn told(&self) -> usize {
        self.told.len()
    }

    /// What is to be said of them; `why` rules did not fit.
    pub(super) fn faults(&self, mount: &Path, why: Option<&KernelError>) -> Vec<Fault> {
        let causes = [Why::Cgroups, Why::Rules].into_iter();
        let faults = causes.filter_map(|cause| self.fault(cause, mount, why));
        faults.collect()
    }

    fn fault(&self, cause: Why, mount: &Path, why: Option<&KernelError>) -> Option<Fault> {
        let mut of_cause = self.cgroups.iter().filter(|(_, why)| **why == cause);
        let (first, _) = of_cause.next()?;
        let count = 1 + of_cause.count();
        let first = whose::search(mount, *first).unwrap_or_else(|| format!("the id {first}"));
        let (room, fix) = match cause {
            Why::Cgroups => (
                format!("the kernel's table of cgroups holds {CGROUP_ENTRIES}"),
                "name a narrower intercept.cgroup, or fewer patterns that tell cgroups apart",
            ),
            Why::Rules => (
                why.map(|error| error.source.to_string())
                    .unwrap_or_default(),
                "join prefixes and port ranges where rules say the same, or use fewer selections, \
                 and reload",
            ),
        };
        Some(Fault::new(
            format!(
                "{count} cgroups, the first of them {first}, are not in the kernel's tables: {room}; \
                 their connections have the strictest of the rules that could be theirs, and those \
                 that are redirected are decided by the proxy"
            ),
            fix,
        ))
    }
}
