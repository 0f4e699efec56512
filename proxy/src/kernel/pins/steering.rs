//! Links of sk_lookup in other network namespaces: one for each, by its cookie.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use sidetrack_abi::names::program;

use super::{LINKS, PinError, PinName, Pins, reading, remove_link};
use crate::kernel::sys::link;

/// The name of the link in the namespace with this cookie.
pub(in crate::kernel) fn name(netns: u64) -> String {
    format!("{}_{netns}", program::SK_LOOKUP)
}

/// The cookie in such a name.
fn netns(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(program::SK_LOOKUP)?
        .strip_prefix('_')?
        .parse()
        .ok()
}

/// Whether it is such a link, in a namespace that is there.
pub(super) fn is_in_force(path: &Path) -> bool {
    let there =
        |link: &OwnedFd| link::link_info(link.as_fd()).is_ok_and(|info| !info.target.is_gone());
    netns(path).is_some() && link::open_pinned(path).is_ok_and(|link| there(&link))
}

/// The namespaces in which an instance steers, or has steered.
pub fn steered(instance: &PinName) -> Vec<u64> {
    let Some(folder) = reading::folder(instance) else {
        return Vec::new();
    };
    let links = fs::read_dir(folder.join(LINKS))
        .into_iter()
        .flatten()
        .flatten();
    links.filter_map(|link| netns(&link.path())).collect()
}

impl Pins {
    /// Ends what steers in a namespace.
    pub(in crate::kernel) fn remove_steering(&self, netns: u64) -> Result<(), PinError> {
        remove_link(&self.folder.join(LINKS).join(name(netns)))
    }
}
