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

use super::{NO_PREALLOC, classes::Classes, filling, taken};
use crate::kernel::{
    KernelError,
    cgroup::{
        known::{Change, Known, View},
        watch::{Changed, Watch},
    },
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
    /// Cgroups for which there is no room: their connections are decided by the proxy.
    left_out: usize,
    /// Why the rules of a class that was met are not in the kernel.
    do_not_fit: Option<KernelError>,
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

    /// Fills the set `index`, which is not the active one.
    pub(super) fn fill(
        &mut self,
        index: u32,
        tables: &RuleTables,
        classes: &mut Classes,
    ) -> Result<Classified, KernelError> {
        // Those that are met without a look at any cgroup.
        classes.tell(tables)?;
        let mut classified = Classified {
            inner: HashMap::create(CGROUP_ENTRIES as u32, NO_PREALLOC).map_err(filling)?,
            known: Known::default(),
            left_out: 0,
            do_not_fit: None,
        };
        self.look(&mut classified, classes, tables, &Changed::Anywhere)?;
        if let Some(error) = classified.do_not_fit {
            return Err(error);
        }
        self.sets
            .set(index, &classified.inner, 0)
            .map_err(filling)?;
        Ok(classified)
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
        let result = self.look(classified, classes, tables, changed);
        self.active = Some(active);
        result
    }

    fn look(
        &self,
        classified: &mut Classified,
        classes: &mut Classes,
        tables: &RuleTables,
        changed: &Changed,
    ) -> Result<(), KernelError> {
        let view = View {
            mount: &self.mount,
            top: &tables.top,
            tables,
            watch: self.watch.as_deref(),
        };
        let Classified {
            inner,
            known,
            left_out,
            do_not_fit,
        } = classified;
        let (before, mut refused) = (*left_out, 0);
        let mut tell = |change| match change {
            Change::Appeared(id, class) => {
                // What the class leads to first, so that nobody finds it without.
                let taken = match classes.tell(tables) {
                    Ok(()) => inner.insert(id, class, 0).is_ok(),
                    Err(error) => {
                        do_not_fit.get_or_insert(error);
                        false
                    }
                };
                refused += usize::from(!taken);
                taken
            }
            Change::Gone(id) => inner.remove(&id).is_ok(),
        };
        let looked = match changed {
            Changed::Anywhere => known.look(&view, &mut tell),
            Changed::In(folders) => folders
                .iter()
                .try_for_each(|folder| known.look_at(&view, folder, &mut tell)),
        };
        if refused != 0 && before == 0 {
            tracing::warn!(
                cgroups = refused,
                room = CGROUP_ENTRIES,
                "more cgroups or rules than the kernel's tables hold: connections of the rest are \
                 decided by the proxy; a narrower intercept.cgroup makes room",
            );
        }
        *left_out = refused;
        looked.map_err(|error| {
            KernelError::new(
                "looking for cgroups",
                "the cgroup2 hierarchy must be readable",
                error,
            )
        })
    }
}
