//! The table of cgroups, which changes while the rules do not: cgroups come and go.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{ArrayOfMaps, HashMap, MapData, MapError},
};
use sidetrack_abi::{
    names::{CGROUP_ENTRIES, map},
    rules::CgroupClass,
};

mod left_out;

use left_out::{LeftOut, Why};

use super::{NO_PREALLOC, classes::Classes, filling, taken};
use crate::kernel::{
    KernelError,
    cgroup::{
        known::{Change, Known, View},
        watch::{Changed, Watch},
    },
    effective::Fault,
    rules::RuleTables,
};

type Inner = HashMap<MapData, u64, CgroupClass>;

pub(in crate::kernel) struct Cgroups {
    mount: PathBuf,
    sets: ArrayOfMaps<MapData, Inner>,
    watch: Option<Arc<Watch>>,
    pub(super) active: Option<Active>,
}

pub(super) struct Active {
    pub(super) classified: Classified,
    pub(super) classes: Classes,
}

/// The cgroups of the active rule set.
pub(super) struct Classified {
    pub(super) inner: Inner,
    pub(super) known: Known,
    left_out: LeftOut,
}

impl Classified {
    fn create(room: usize) -> Result<Self, MapError> {
        Ok(Self {
            inner: HashMap::create(room as u32, NO_PREALLOC)?,
            known: Known::default(),
            left_out: LeftOut::default(),
        })
    }

    fn look(
        &mut self,
        view: &View<'_>,
        classes: &mut Classes,
        changed: &Changed,
    ) -> Result<(), KernelError> {
        let Self {
            inner,
            known,
            left_out,
        } = self;
        if let Changed::Anywhere = changed {
            left_out.look_again();
        }
        let mut tell = |change| match change {
            Change::Appeared(id, class) => {
                // What the class leads to first, so that nobody finds it without.
                classes.tell(view.tables);
                let why = if !classes.fit(class) {
                    Some(Why::Rules)
                } else {
                    inner.insert(id, class, 0).err().map(|_| Why::Cgroups)
                };
                left_out.tried(id, why);
                why.is_none()
            }
            Change::Gone(id) => inner.remove(&id).is_ok(),
        };
        let looked = match changed {
            Changed::Anywhere => known.look(view, &mut tell),
            Changed::In(folders) => folders
                .iter()
                .try_for_each(|folder| known.look_at(view, folder, &mut tell)),
        };
        left_out.warn(view.mount, classes.why());
        looked.map_err(|error| {
            KernelError::new(
                "looking for cgroups",
                "the cgroup2 hierarchy must be readable",
                error,
            )
        })
    }
}

impl Active {
    /// Cgroups that are not in the kernel's table, each cause by itself.
    pub(super) fn left_out(&self, mount: &Path) -> Vec<Fault> {
        let left_out = &self.classified.left_out;
        left_out.faults(mount, self.classes.why())
    }
}

impl Cgroups {
    pub(super) fn take(bpf: &mut Ebpf, mount: PathBuf) -> Result<Self, MapError> {
        Ok(Self {
            mount,
            sets: taken(bpf, map::CGROUPS)?,
            watch: None,
            active: None,
        })
    }

    /// Where the cgroup2 hierarchy is mounted.
    pub(in crate::kernel) fn mount(&self) -> &Path {
        &self.mount
    }

    /// Has folders that are looked at from here on told to `watch`.
    pub(super) fn tell(&mut self, watch: Arc<Watch>) {
        self.watch = Some(watch);
    }

    /// Fills what is to be a set.
    pub(super) fn fill(
        &mut self,
        tables: &RuleTables,
        classes: &mut Classes,
    ) -> Result<Classified, KernelError> {
        // Those that are met without a look at any cgroup.
        classes.tell(tables);
        classes.all_fit()?;
        classes.tell_namespaces(tables)?;
        let mut classified = Classified::create(CGROUP_ENTRIES).map_err(filling)?;
        let looked = classified.look(&self.view(tables), classes, &Changed::Anywhere);
        if looked.is_err() {
            // More telling than that the cgroup above all others could not be told of.
            classes.all_fit()?;
        }
        looked?;
        Ok(classified)
    }

    /// Puts what was filled into the set `index`.
    pub(super) fn put(&mut self, index: u32, filled: &Classified) -> Result<(), MapError> {
        self.sets.set(index, &filled.inner, 0)
    }

    /// Takes what was filled for the active set.
    pub(super) fn activated(&mut self, classified: Classified, classes: Classes) {
        if let Some(watch) = &self.watch {
            watch.retain(|folder| classified.known.reads(folder));
        }
        self.active = Some(Active {
            classified,
            classes,
        });
    }

    /// Tells the active set which network namespaces are known.
    pub(super) fn tell_namespaces(&mut self, tables: &RuleTables) -> Result<(), KernelError> {
        match &mut self.active {
            Some(active) => active.classes.tell_namespaces(tables),
            None => Ok(()),
        }
    }

    /// Looks for cgroups of the active set that have appeared or gone.
    pub(super) fn refresh(
        &mut self,
        tables: &RuleTables,
        changed: &Changed,
    ) -> Result<(), KernelError> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        let Active {
            classified,
            classes,
        } = &mut active;
        let result = classified.look(&self.view(tables), classes, changed);
        self.active = Some(active);
        result
    }

    fn view<'a>(&'a self, tables: &'a RuleTables) -> View<'a> {
        View {
            mount: &self.mount,
            top: &tables.top,
            tables,
            watch: self.watch.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
