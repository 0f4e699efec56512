//! What is pinned, for whoever only looks.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::{LINKS, PinError, PinName, Pins, instances, maps_of};
use crate::{holder::Holder, kernel::sys::link};

/// Whether an instance's rules are in force in the kernel, whoever runs.
pub fn is_in_force(name: &PinName) -> bool {
    are_in_force(name).unwrap_or(false)
}

/// The same, for whoever has to know that it could not be looked at.
///
/// # Errors
/// The bpf file system may not be read.
pub fn are_in_force(name: &PinName) -> io::Result<bool> {
    let Ok(instances) = instances() else {
        // Where nothing can be pinned nothing is.
        return Ok(false);
    };
    match fs::read_dir(instances.join(name.to_string()).join(LINKS)) {
        Ok(mut links) => Ok(links.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Who has the pins of an instance, if somebody does.
pub fn holder(name: &PinName) -> Option<Holder> {
    match Pins::open_existing(name) {
        Err(PinError::Held { holder, .. }) => Some(holder),
        _ => None,
    }
}

/// Where everything of an instance is pinned, if there is a bpf file system.
pub fn folder(name: &PinName) -> Option<PathBuf> {
    Some(instances().ok()?.join(name.to_string()))
}

/// Where a map of this binary's object is pinned, if it is.
pub(in crate::kernel) fn map_path(name: &PinName, map: &str) -> Option<PathBuf> {
    Some(maps_of(&folder(name)?).join(map))
}

/// Where the link of a program is pinned, if it is.
pub(in crate::kernel) fn link_path(name: &PinName, program: &str) -> Option<PathBuf> {
    Some(folder(name)?.join(LINKS).join(program))
}

/// The link of a program, if it is pinned, whoever has the pins.
pub(in crate::kernel) fn pinned_link(
    name: &PinName,
    program: &str,
) -> Result<Option<OwnedFd>, PinError> {
    match link_path(name, program) {
        Some(path) => open_link(&path),
        None => Ok(None),
    }
}

/// The link that is pinned at `path`, if there is one.
pub(super) fn open_link(path: &Path) -> Result<Option<OwnedFd>, PinError> {
    match link::open_pinned(path) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PinError::file("opening", path, error)),
    }
}
