//! Where a task is, as far as selections ask: how far its cgroup has come in each of their
//! patterns.

use super::asked::{Asked, Truth};
use crate::config::cgroup::{Below, Names, Progress};

/// A cgroup.
#[derive(Clone, Debug)]
pub struct Place {
    progress: Vec<Progress>,
    depth: usize,
}

impl Place {
    pub(super) fn root(asked: &Asked) -> Self {
        Self {
            progress: asked.patterns.iter().map(|one| one.root()).collect(),
            depth: 0,
        }
    }

    pub(super) fn child(&self, asked: &Asked, name: &str, containers: &impl Names) -> Self {
        let each = asked.patterns.iter().zip(&self.progress);
        let each = each.map(|(one, at)| one.child(*at, name, containers));
        Self {
            progress: each.collect(),
            depth: self.depth + 1,
        }
    }

    /// Levels below the root.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Which patterns select the cgroup itself.
    pub(super) fn own(&self, asked: &Asked) -> Vec<Truth> {
        let each = asked.patterns.iter().zip(&self.progress);
        each.map(|(one, at)| one.selects(*at).into()).collect()
    }

    /// Which patterns select a cgroup below it of which nothing else is known.
    pub(super) fn below(&self, asked: &Asked) -> Vec<Truth> {
        let each = asked.patterns.iter().zip(&self.progress);
        let truths = each.map(|(one, at)| match one.below(*at) {
            Below::All => Truth::Yes,
            Below::Some => Truth::Maybe,
            Below::None => Truth::No,
        });
        truths.collect()
    }
}
