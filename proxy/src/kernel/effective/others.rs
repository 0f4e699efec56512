//! Whose the programs are that run beside ours.

use std::{
    collections::HashMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aya::programs::loaded_programs;
use serde::{Deserialize, Serialize};

use super::{Hook, Ran};
use crate::kernel::{preflight, sys::link};

/// What the kernel tells of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name, cut by the kernel after 15 characters.
    pub name: String,
    /// The kernel's name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<String>,
    /// The user who loaded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Hash of its instructions.
    pub tag: String,
    /// Where it or a link to it is pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<PathBuf>,
    /// Whose it most likely is, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely: Option<String>,
}

/// Names that the programs of well-known tools begin with.
const KNOWN: &[(&str, &str)] = &[
    ("st_", "sidetrack"),
    ("sd_", "systemd"),
    ("cil_", "cilium"),
    ("sock4_", "cilium"),
    ("sock6_", "cilium"),
    ("cali_", "calico"),
    ("calico_", "calico"),
];

/// A file system of pins is looked through as far as this.
const LOOKED_THROUGH: usize = 4096;

/// Everything that is loaded, by id; nothing without CAP_SYS_ADMIN.
fn loaded() -> HashMap<u32, About> {
    loaded_programs()
        .map_while(Result::ok)
        .map(|info| {
            let name = info.name_as_str().unwrap_or_default().to_owned();
            let about = About {
                kind: format!("{:?}", info.program_type())
                    .trim_start_matches("BPF_PROG_TYPE_")
                    .to_ascii_lowercase(),
                loaded: info.loaded_at().map(when),
                uid: info.created_by_uid(),
                tag: format!("{:016x}", info.tag()),
                likely: likely(&name),
                pinned: None,
                name,
            };
            (info.id(), about)
        })
        .collect()
}

/// Names of programs, as far as the kernel tells.
pub(in crate::kernel) fn names(ids: &[u32]) -> HashMap<u32, String> {
    let mut loaded = loaded();
    ids.iter()
        .filter_map(|id| Some((*id, loaded.remove(id)?.name)))
        .collect()
}

/// Programs, for messages.
pub(in crate::kernel) fn described(ids: &[u32]) -> String {
    let mut loaded = loaded();
    let described = ids.iter().map(|id| {
        let ran = Ran {
            id: *id,
            ours: false,
            about: loaded.remove(id),
        };
        ran.to_string()
    });
    described.collect::<Vec<_>>().join(", ")
}

/// Tells of each program what the kernel knows of it. Without CAP_SYS_ADMIN it tells nothing.
pub fn name(hooks: &mut [Hook]) {
    if !hooks.iter().any(|hook| !hook.programs.is_empty()) {
        return;
    }
    let mut known = loaded();
    if known.is_empty() {
        return;
    }
    if let Ok(mount) = preflight::bpffs_mount() {
        for (id, path) in pinned(&mount) {
            if let Some(about) = known.get_mut(&id) {
                about.pinned.get_or_insert(path);
            }
        }
    }
    for ran in hooks.iter_mut().flat_map(|hook| &mut hook.programs) {
        ran.about = known.get(&ran.id).cloned();
    }
}

fn when(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn likely(name: &str) -> Option<String> {
    KNOWN
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, owner)| (*owner).to_owned())
}

/// Programs, and links to programs, that are pinned below a folder.
fn pinned(mount: &Path) -> Vec<(u32, PathBuf)> {
    let (mut folders, mut found, mut seen) = (vec![mount.to_path_buf()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > LOOKED_THROUGH {
                return found;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    if let Ok(Some(id)) = program_of(&path) {
                        found.push((id, path));
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// The id of the program that a pin is of, or whose link it is of.
fn program_of(path: &Path) -> io::Result<Option<u32>> {
    let object = link::open_pinned(path)?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_fd().as_raw_fd()))?;
    Ok(text
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:"))
        .and_then(|id| id.trim().parse().ok()))
}

/// Programs of others that run after ours, where what runs last decides.
pub fn after_ours(hooks: &[Hook]) -> Vec<String> {
    let mut warnings = Vec::new();
    for hook in hooks {
        let does = match hook.hook.as_str() {
            "connect4" | "connect6" => "if it writes another address, connections go there instead",
            "getpeername4" | "getpeername6" => {
                "if it writes another address, applications see that"
            }
            "sk_lookup" => "if it selects a socket, connections go there instead",
            _ => continue,
        };
        let Some(last) = hook.programs.iter().rposition(|ran| ran.ours) else {
            continue;
        };
        for ran in hook.programs.iter().skip(last + 1) {
            warnings.push(format!(
                "{ran} runs after ours at {} of {}; {does}",
                hook.hook,
                hook.where_it_is()
            ));
        }
    }
    warnings
}

impl Hook {
    /// Where this is so.
    pub fn where_it_is(&self) -> String {
        let mut places = self.places.join(", ");
        let more = self.count.saturating_sub(self.places.len());
        if more > 0 {
            places += &format!(" and {more} more");
        }
        places
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "program {}", self.id)?;
        match &self.about {
            Some(About {
                name,
                likely: Some(likely),
                ..
            }) => write!(f, " ({name}, {likely})"),
            Some(About { name, .. }) if !name.is_empty() => write!(f, " ({name})"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_after_ours_is_named_and_who_runs_before_is_not() {
        let ran = |id, ours, name: &str| Ran {
            id,
            ours,
            about: Some(About {
                name: name.into(),
                likely: likely(name),
                ..About::default()
            }),
        };
        let hook = Hook {
            hook: "connect4".into(),
            places: vec!["/a".into()],
            count: 3,
            programs: vec![
                ran(1, false, "first"),
                ran(2, true, "st_connect4"),
                ran(3, false, "cil_sock4_conn"),
            ],
        };
        let said = after_ours(&[hook]);
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with(
                "program 3 (cil_sock4_conn, cilium) runs after ours at connect4 of /a and 2 more"
            ),
            "{said:?}"
        );
    }
}
