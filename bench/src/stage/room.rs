//! What one run has of this machine, and how it goes away again.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{self as this, Command},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use signal_hook::{consts, iterator::Signals};

use super::{
    Certificates, Group,
    group::{self, Tree},
    leftovers::{self, Place},
    process,
};
use crate::Trouble;

/// Held while something is made, and for ever by an interrupt's clean-up, so that nothing is made
/// behind its back and nobody reports what it broke.
static MAKING: Mutex<()> = Mutex::new(());

/// Waits for ever once an interrupt cleans up.
pub(super) fn making() -> MutexGuard<'static, ()> {
    MAKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cheap to clone; all that it has is removed with its last clone.
#[derive(Clone)]
pub struct Room(Arc<Inner>);

struct Inner {
    place: Place,
    cgroup: Group,
    stages: AtomicU32,
    certificates: Mutex<Option<Certificates>>,
}

impl Room {
    /// A place for stages, on which `program` is the daemon and the agents. What runs that were killed
    /// have left is removed before.
    ///
    /// # Errors
    /// A privilege is missing, or something could not be made.
    pub fn open(program: PathBuf) -> Result<Self, Trouble> {
        super::available()?;
        let cgroups = group::root()?;
        leftovers::remove_dead(&cgroups, &program);
        let place = Place::new(cgroups, program)?;
        let cgroup = Group::at(place.cgroups(), format!("/{}", place.name()));
        let cgroup = match cgroup {
            Ok(cgroup) => cgroup,
            Err(trouble) => {
                place.remove();
                return Err(trouble);
            }
        };
        Ok(Self(Arc::new(Inner {
            place,
            cgroup,
            stages: AtomicU32::new(0),
            certificates: Mutex::new(None),
        })))
    }

    /// From now on Ctrl-C, SIGTERM and SIGHUP end this process when all of the room is removed.
    ///
    /// # Errors
    /// The signals cannot be waited for.
    pub fn undo_on_interrupt(&self) -> Result<(), Trouble> {
        let mut signals = Signals::new([consts::SIGINT, consts::SIGTERM, consts::SIGHUP])
            .map_err(|error| Trouble::new("waiting for signals", error))?;
        let place = self.0.place.clone();
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let _for_ever = making();
                place.remove();
                this::exit(128 + signal);
            }
        });
        Ok(())
    }

    /// The program that is measured, unless a path has another build of it.
    pub fn program(&self) -> &Path {
        self.0.place.program()
    }

    /// Words that make [`Self::program`] an agent of this role.
    pub fn agent(&self, role: &str) -> Vec<OsString> {
        vec!["bench-agent".into(), role.into()]
    }

    /// For files that several stages share.
    pub fn folder(&self) -> &Path {
        self.0.place.folder()
    }

    /// Certificates of both hosts, made when they are first asked for.
    ///
    /// # Errors
    /// They could not be made.
    pub fn certificates(&self) -> Result<Certificates, Trouble> {
        let mut made = self
            .0
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            return Ok(made.clone());
        }
        let certificates = Certificates::make(&self.folder().join("certificates"), |args| {
            process::finish(Command::new(self.program()).args(args)).map(drop)
        })?;
        Ok(made.insert(certificates).clone())
    }

    pub(super) fn next_stage(&self) -> u32 {
        self.0.stages.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn tree(&self, name: &str) -> Result<Tree, Trouble> {
        self.0.cgroup.child(name).map(Tree)
    }

    pub(super) fn netns(&self, stage: u32, host: &str) -> String {
        format!("{}-{stage}-{host}", self.0.place.name())
    }

    pub(super) fn instance(&self, stage: u32, host: &str) -> String {
        format!("{}{stage}-{host}", self.0.place.instances())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _making = making();
        self.place.remove();
    }
}
