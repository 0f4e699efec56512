//! What daemons leave in force when they end.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the instances' pins are.
const INSTANCES: &str = "/sys/fs/bpf/sidetrack";

/// Removes the pins of all instances whose names begin with one text when dropped: a daemon that
/// ends leaves its rules in force.
pub(crate) struct Pins(pub(crate) String);

impl Drop for Pins {
    fn drop(&mut self) {
        for path in entries(Path::new(INSTANCES)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&self.0) {
                remove(&path);
            }
        }
        let _ = fs::remove_dir(INSTANCES);
    }
}

/// The folder of one instance's pins.
pub fn folder(instance: &str) -> PathBuf {
    Path::new(INSTANCES).join(instance)
}

/// Everything below a folder, folders included, sorted.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

fn remove(folder: &Path) {
    for path in entries(folder) {
        if path.is_dir() {
            remove(&path);
        } else {
            let _ = fs::remove_file(path);
        }
    }
    let _ = fs::remove_dir(folder);
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
