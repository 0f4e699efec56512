//! What outlives the daemon: its maps and links, pinned in a bpf file system.
//!
//! ```text
//! BPFFS/sidetrack/INSTANCE/links/PROGRAM    the links that protect, whatever object they run
//! BPFFS/sidetrack/INSTANCE/v1-OBJECT/MAP    the maps of the BPF object with that SHA-256
//! ```
//!
//! A daemon that was killed leaves both behind: its programs go on, find no listener and answer
//! with each rule's fail mode. The next one takes the folder, keeps the maps if they are of its
//! own object, and puts its programs into the links. Maps of any other object are never touched,
//! only dropped once no link runs a program that uses them: nothing of another version's layout
//! is ever read.

use std::{
    fmt,
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use sidetrack_abi::names::{map, program};

use super::{object, preflight, sys::link};
use crate::{config::Instance, holder::Holder};

mod error;
mod generation;
mod leftover;
mod reading;
mod steering;

pub use error::PinError;
pub use generation::next_generation;
pub(super) use generation::{pinned_heartbeat, pinned_settings};
pub use leftover::sweep_dead_execs;
pub use reading::{are_in_force, folder, holder, is_in_force};
pub(super) use reading::{link_path, map_path, pinned_link};
pub(super) use steering::name as steering_name;
pub use steering::steered;

/// Version of this arrangement of files.
const ARRANGEMENT: &str = "v1";
const LINKS: &str = "links";
/// How long a look at the pins by somebody else, as for what a killed `exec` left, may hold up
/// whoever takes them.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// Ends the name of a link that is about to take the place of another.
const NEXT: &str = "_next";

/// Whose pins they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinName(String);

impl PinName {
    /// Those of a daemon.
    pub fn of(instance: &Instance) -> Self {
        Self(instance.to_string())
    }

    /// Those of the `exec` that is process `pid`. No instance's name has an underscore, and no
    /// pin's may have a dot.
    pub fn exec(pid: u32) -> Self {
        Self(format!("{}{pid}", leftover::EXEC))
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pins of one instance; nobody else changes them while this lives.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    found: Found,
    left: Left,
    /// Let go of when all of it is as it is to be left: whoever takes the folder next finds all
    /// or nothing.
    _lock: Flock<File>,
}

/// What was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing: no rule of this instance was in force.
    Nothing,
    /// Links, so that rules are in force already.
    InForce,
}

/// What is left in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// What was found: rules that were in force before stay so, and where there were none, none
    /// are left.
    AsFound,
    /// The rules, without a proxy: each connection gets its rule's fail mode.
    InForce,
    /// Nothing.
    Nothing,
}

impl Pins {
    /// Takes the folder of `name`, or makes it.
    ///
    /// # Errors
    /// [`PinError`]
    pub fn open(name: &PinName) -> Result<Self, PinError> {
        let folder = instances()?.join(name.to_string());
        let until = Instant::now() + PATIENCE;
        let lock = loop {
            make(&folder)?;
            match Self::lock(&folder) {
                Ok(Some(lock)) => break lock,
                // Whoever had it removed it meanwhile.
                Ok(None) => {}
                Err(PinError::Held { .. }) if Instant::now() < until => thread::sleep(POLL),
                Err(error) => return Err(error),
            }
        };
        let links = folder.join(LINKS);
        make(&links)?;
        let found = match entries(&links).is_empty() {
            true => Found::Nothing,
            false => Found::InForce,
        };
        Ok(Self {
            folder,
            found,
            left: Left::AsFound,
            _lock: lock,
        })
    }

    /// Takes the folder of `name` if there is one.
    ///
    /// # Errors
    /// [`PinError`]
    pub fn open_existing(name: &PinName) -> Result<Option<Self>, PinError> {
        let folder = match instances() {
            Ok(instances) => instances.join(name.to_string()),
            // Where nothing can be pinned nothing is.
            Err(PinError::NoBpffs(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match fs::metadata(&folder) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // Whoever may not look must not say that there is nothing.
            Err(error) => return Err(PinError::file("looking at", &folder, error)),
        }
        Ok(Self::lock(&folder)?.map(|lock| Self {
            folder,
            found: Found::InForce,
            left: Left::AsFound,
            _lock: lock,
        }))
    }

    /// The lock is on the folder itself: a bpf file system has no other files, and the kernel
    /// lets go of it whatever kills the process. `None` if the folder is gone.
    fn lock(folder: &Path) -> Result<Option<Flock<File>>, PinError> {
        let opened = match File::open(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| PinError::file("opening", folder, error))?,
        };
        let lock = match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(PinError::Held {
                    folder: folder.into(),
                    holder: Holder::of(&file),
                });
            }
            Err((_, errno)) => return Err(PinError::file("locking", folder, errno.into())),
        };
        let own = lock.metadata().map(|found| (found.dev(), found.ino()));
        let there = fs::metadata(folder).map(|found| (found.dev(), found.ino()));
        Ok(matches!((own, there), (Ok(own), Ok(there)) if own == there).then_some(lock))
    }

    /// Whose they are.
    pub fn name(&self) -> PinName {
        let name = self.folder.file_name().unwrap_or_default();
        PinName(name.to_string_lossy().into_owned())
    }

    /// Says what is to be left when this is dropped; it is as it was found unless somebody does.
    pub(super) fn will_leave(&mut self, left: Left) {
        self.left = left;
    }

    /// What is to be left.
    pub(super) fn left(&self) -> Left {
        self.left
    }

    /// Where a map of this binary's object is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        maps_of(&self.folder).join(name)
    }

    /// Makes room for the maps of this binary's object.
    pub(super) fn make_maps(&self) -> Result<(), PinError> {
        make(&maps_of(&self.folder))
    }

    /// The pinned link of a program, if there is one.
    pub(super) fn link(&self, program: &str) -> Result<Option<OwnedFd>, PinError> {
        reading::open_link(&self.folder.join(LINKS).join(program))
    }

    /// Maps of this binary's object that should be pinned and are not.
    pub(super) fn missing_maps(&self) -> Vec<&'static str> {
        let names = map::ALL.into_iter();
        names.filter(|name| !self.map(name).exists()).collect()
    }

    /// Pins a link beside the one that is pinned for its program, which goes on.
    pub(super) fn stage_link(&self, program: &str, made: &OwnedFd) -> Result<(), PinError> {
        let path = self.staged(program);
        // Of a start that was killed.
        remove_file(&path)?;
        link::pin(made.as_fd(), &path).map_err(|error| PinError::file("pinning", &path, error))
    }

    /// Puts a staged link in the place of the one that was pinned for its program, which ends.
    pub(super) fn commit_link(&self, program: &str) -> Result<(), PinError> {
        let (from, to) = (self.staged(program), self.folder.join(LINKS).join(program));
        let before = link::open_pinned(&to);
        fs::rename(&from, &to).map_err(|error| PinError::file("renaming", &from, error))?;
        if let Ok(before) = before {
            end(&before, &to);
        }
        Ok(())
    }

    /// Gives a staged link up.
    pub(super) fn unstage_link(&self, program: &str) {
        if let Err(error) = remove_link(&self.staged(program)) {
            tracing::warn!(%error, "giving up a link");
        }
    }

    fn staged(&self, program: &str) -> PathBuf {
        self.folder.join(LINKS).join(format!("{program}{NEXT}"))
    }

    /// Removes the links of other programs than these, and the maps of other objects. What steers in
    /// another network namespace stays for as long as that does, since it blocks there, if an inbound
    /// rule holds `elsewhere`; with no such rule nobody would put it right.
    pub(super) fn keep_only(&self, programs: &[&str], elsewhere: bool) -> Result<(), PinError> {
        for path in entries(&self.folder.join(LINKS)) {
            let kept = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| programs.contains(&name));
            if !(kept || elsewhere && steering::is_in_force(&path)) {
                remove_link(&path)?;
            }
        }
        let own = maps_of(&self.folder);
        for path in entries(&self.folder) {
            if path != own && path != self.folder.join(LINKS) {
                remove_folder(&path)?;
            }
        }
        Ok(())
    }

    /// Removes all of it: what is attached by it ends, unless a process holds it too.
    ///
    /// # Errors
    /// [`PinError::File`]
    pub fn remove(&self) -> Result<(), PinError> {
        let links = self.folder.join(LINKS);
        // What redirects goes first: connections that it made are taken by the others.
        for name in [program::CONNECT4, program::CONNECT6] {
            remove_link(&links.join(name))?;
        }
        for path in entries(&links) {
            remove_link(&path)?;
        }
        for path in entries(&self.folder) {
            remove_folder(&path)?;
        }
        remove_dir(&self.folder)?;
        if let Some(parent) = self.folder.parent() {
            // The last one; others' stay.
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let remove = match self.left {
            Left::AsFound => self.found == Found::Nothing,
            Left::InForce => false,
            Left::Nothing => true,
        };
        if remove && let Err(error) = self.remove() {
            tracing::error!(%error, "removing the pins: what is attached stays in force");
        }
    }
}

fn instances() -> Result<PathBuf, PinError> {
    preflight::bpffs_mount()
        .map(|mount| mount.join("sidetrack"))
        .map_err(PinError::NoBpffs)
}

fn maps_of(folder: &Path) -> PathBuf {
    let object = object::SHA256.get(..12).unwrap_or(object::SHA256);
    folder.join(format!("{ARRANGEMENT}-{object}"))
}

fn make(folder: &Path) -> Result<(), PinError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| PinError::file("making", folder, error))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

/// Ends a link and removes its pin.
fn remove_link(path: &Path) -> Result<(), PinError> {
    if let Ok(link) = link::open_pinned(path) {
        end(&link, path);
    }
    remove_file(path)
}

fn end(link: &OwnedFd, path: &Path) {
    if let Err(error) = link::detach_link(link.as_fd()) {
        // The kernel ends it by itself, a moment after its last pin has gone.
        tracing::debug!(link = %path.display(), %error, "detaching a link");
    }
}

fn remove_folder(path: &Path) -> Result<(), PinError> {
    for inner in entries(path) {
        remove_file(&inner)?;
    }
    remove_dir(path)
}

fn remove_dir(path: &Path) -> Result<(), PinError> {
    gone(path, fs::remove_dir(path))
}

fn remove_file(path: &Path) -> Result<(), PinError> {
    gone(path, fs::remove_file(path))
}

fn gone(path: &Path, removed: io::Result<()>) -> Result<(), PinError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PinError::file("removing", path, error))
        }
        _ => Ok(()),
    }
}
