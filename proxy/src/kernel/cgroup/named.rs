//! The cgroups that selections name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::kernel::rules::{Place, RuleTables};

/// No more than these are named.
const MOST: usize = 1024;

/// The cgroups below `governed`, which is the folder of the rules' attach point, that selections
/// name. What lies below such a one is not listed unless it is told apart from it.
pub fn named(tables: &RuleTables, governed: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    look_into(tables, &tables.place(&tables.top), governed, &mut found);
    found
}

fn look_into(tables: &RuleTables, place: &Place, folder: &Path, found: &mut Vec<PathBuf>) {
    if !tables.holds_unknown(place) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.len() == MOST {
            return;
        }
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let child = tables.place_in(place, &entry.file_name().to_string_lossy());
        if tables.is_named(&child) {
            found.push(entry.path());
        }
        look_into(tables, &child, &entry.path(), found);
    }
}
