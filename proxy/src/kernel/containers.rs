//! Names of containers, from the files in which their runtimes keep them.
//!
//! A cgroup tells the id of its container. Each runtime writes the name to that id before the
//! container's first process runs.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Deserialize;

use crate::config::cgroup::Names;

/// Containers whose names are remembered. They are asked for again when all are forgotten.
const REMEMBERED: usize = 4_096;

/// A state file is at most this long: more is not read.
const LARGEST: u64 = 64 << 20;

/// The names of this host's containers.
#[derive(Debug)]
pub struct Containers {
    root: PathBuf,
    known: Mutex<HashMap<String, Arc<[String]>>>,
    storages: Mutex<HashMap<PathBuf, Storage>>,
}

/// Podman's and CRI-O's list of containers, as it was when it was last read.
#[derive(Debug)]
struct Storage {
    /// Inode, size and time of change of the file.
    version: (u64, u64, i64, i64),
    names: HashMap<String, Vec<String>>,
}

/// `/var/lib/docker/containers/ID/config.v2.json`
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    name: String,
}

/// One of the list in `/var/lib/containers/storage/DRIVER-containers/containers.json`
#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// `config.json` of the OCI runtime.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

/// Annotations that name a container: of containerd's CRI, of CRI-O and of nerdctl.
const ANNOTATIONS: [&str; 3] = [
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "nerdctl/name",
];

impl Default for Containers {
    fn default() -> Self {
        Self::below(PathBuf::from("/"))
    }
}

impl Names for Containers {
    fn names(&self, id: &str) -> Option<Arc<[String]>> {
        if let Some(names) = self.known.lock().get(id) {
            return Some(Arc::clone(names));
        }
        // Not remembered if there is none: the next time there may be.
        let names: Arc<[String]> = self.read(id)?.into();
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id.to_owned(), Arc::clone(&names));
        Some(names)
    }
}

impl Containers {
    /// Those of which the runtimes' files are below `root`.
    pub fn below(root: PathBuf) -> Self {
        Self {
            root,
            known: Mutex::default(),
            storages: Mutex::default(),
        }
    }

    /// By any runtime that knows it; it need not have a name there.
    fn read(&self, id: &str) -> Option<Vec<String>> {
        let found = [self.docker(id), self.containerd(id), self.storage(id)];
        let mut found = found.into_iter().flatten().peekable();
        found.peek()?;
        Some(found.flatten().collect())
    }

    fn docker(&self, id: &str) -> Option<Vec<String>> {
        let containers = self.root.join("var/lib/docker/containers");
        let config: Docker = json(&containers.join(id).join("config.v2.json"))?;
        Some(vec![config.name.trim_start_matches('/').to_owned()])
    }

    /// containerd keeps the bundles of each of its namespaces apart.
    fn containerd(&self, id: &str) -> Option<Vec<String>> {
        let tasks = self
            .root
            .join("run/containerd/io.containerd.runtime.v2.task");
        let bundles = folders(&tasks).into_iter();
        let mut configs = bundles.filter_map(|namespace| {
            let mut config: Bundle = json(&namespace.join(id).join("config.json"))?;
            let named = |key: &&str| config.annotations.remove(*key);
            Some(ANNOTATIONS.iter().filter_map(named).collect())
        });
        configs.next()
    }

    /// Podman and CRI-O, by containers/storage with any of its drivers.
    fn storage(&self, id: &str) -> Option<Vec<String>> {
        let storage = self.root.join("var/lib/containers/storage");
        let drivers = folders(&storage).into_iter().filter(|folder| {
            let name = folder.file_name().unwrap_or_default();
            name.to_string_lossy().ends_with("-containers")
        });
        let mut lists = drivers.flat_map(|driver| {
            // The other one is of those that a restart of the host forgets.
            ["containers.json", "volatile-containers.json"].map(|list| driver.join(list))
        });
        lists.find_map(|list| self.stored(&list, id))
    }

    fn stored(&self, list: &Path, id: &str) -> Option<Vec<String>> {
        let metadata = fs::metadata(list).ok()?;
        let version = (
            metadata.ino(),
            metadata.len(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        );
        let mut storages = self.storages.lock();
        let read = storages.get(list).map(|storage| storage.version);
        if read != Some(version) {
            let all: Vec<Stored> = json(list)?;
            let names = all.into_iter().map(|one| (one.id, one.names)).collect();
            storages.insert(list.to_path_buf(), Storage { version, names });
        }
        let names = storages.get(list)?.names.get(id)?;
        Some(names.iter().flat_map(|name| both_names(name)).collect())
    }
}

/// CRI-O writes `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
fn both_names(name: &str) -> Vec<String> {
    let of_pod = name
        .strip_prefix("k8s_")
        .and_then(|rest| rest.split('_').next());
    [Some(name), of_pod]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// `None` also while it is being written.
fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests;
