//! Which executable a task runs, by its path.
//!
//! The kernel has a path as a chain of names from the file upwards, and so the paths that selections
//! name are a trie of their names from the last to the first: a file of another name is told apart by
//! a single lookup. A task's path is that of its mount namespace, from the root of that.

/// Bytes of a name in [`ExecutableKey`].
pub const NAME_BYTES: usize = 124;

/// Bytes that a name of a path may have. A longer one would be cut off to fit, with the zero at its
/// end, and must not be taken for what is left of it.
pub const NAME_MAX: usize = NAME_BYTES - 2;

/// Names that a path may have.
pub const EXECUTABLE_NAMES: usize = 24;

/// Mounts that a path may lead through, beside its names.
pub const EXECUTABLE_MOUNTS: usize = 16;

/// [`ExecutableStep::number`] where no path begins, and number of what is none of those that are named.
pub const NO_EXECUTABLE: u32 = 0;

/// Key of the trie: a name, and where the names after it have led.
///
/// Aligned for programs that fill it with zeros word by word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExecutableKey {
    /// 0 at the file itself.
    pub state: u32,
    /// The name, then zeros.
    pub name: [u8; NAME_BYTES],
}

const _: () = assert!(size_of::<ExecutableKey>() == 128);

impl ExecutableKey {
    /// `None` if the name is longer than [`NAME_MAX`].
    pub fn new(state: u32, name: &[u8]) -> Option<Self> {
        let mut key = Self {
            state,
            name: [0; NAME_BYTES],
        };
        if name.len() > NAME_MAX {
            return None;
        }
        for (to, from) in key.name.iter_mut().zip(name) {
            *to = *from;
        }
        Some(key)
    }
}

#[cfg(not(target_arch = "bpf"))]
impl ExecutableKey {
    /// The name, as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        let name = self.name.split(|byte| *byte == 0).next();
        String::from_utf8_lossy(name.unwrap_or_default())
    }
}

/// Value of the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ExecutableStep {
    /// State of the next name's key.
    pub next: u32,
    /// Number of the path that is whole with this name, if there is no other before it.
    pub number: u32,
}

const _: () = assert!(size_of::<ExecutableStep>() == 8);

/// The number of a path by the trie that `step` looks things up in.
pub fn number(path: &str, step: impl Fn(&ExecutableKey) -> Option<ExecutableStep>) -> u32 {
    let mut found = ExecutableStep::default();
    let names = path.split('/').filter(|name| !name.is_empty());
    for name in names.rev() {
        let key = ExecutableKey::new(found.next, name.as_bytes());
        match key.and_then(|key| step(&key)) {
            Some(next) => found = next,
            None => return NO_EXECUTABLE,
        }
    }
    found.number
}

/// Bytes of members in the kernel's structures, by its BTF, and of the daemon itself. `task_mm` is 0 if
/// they are not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ExecutableLayout {
    /// `mm` in `struct task_struct`.
    pub task_mm: u32,
    /// `cred` in `struct task_struct`.
    pub task_cred: u32,
    /// `exe_file` in `struct mm_struct`.
    pub mm_file: u32,
    /// `f_path.dentry` in `struct file`.
    pub file_dentry: u32,
    /// `f_path.mnt` in `struct file`.
    pub file_mount: u32,
    /// `d_parent` in `struct dentry`.
    pub dentry_parent: u32,
    /// `d_name.name` in `struct dentry`.
    pub dentry_name: u32,
    /// `mnt` in `struct mount`: what `struct file` leads to.
    pub mount_inner: u32,
    /// `mnt.mnt_root` in `struct mount`.
    pub mount_root: u32,
    /// `mnt_parent` in `struct mount`.
    pub mount_parent: u32,
    /// `mnt_mountpoint` in `struct mount`.
    pub mount_point: u32,
    /// `mnt_ns` in `struct mount`.
    pub mount_namespace: u32,
    /// `user_ns` in `struct mnt_namespace`.
    pub namespace_owner: u32,
    /// `user_ns` in `struct cred`.
    pub cred_owner: u32,
    /// `ns.inum` in `struct user_namespace`.
    pub owner_number: u32,
    /// That number of the daemon's own user namespace.
    pub own_number: u32,
}

const _: () = assert!(size_of::<ExecutableLayout>() == 64);
