//! Where symbolic links lead, as far as nobody else decides that: who may change a link that a
//! selection names would say for everybody what is selected.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use nix::errno::Errno;

/// As many links as the kernel follows on one path.
const LINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leads {
    /// No link is on it, or nothing is there.
    Nowhere,
    /// By links of root's, or of the daemon's own user, in folders to which nobody else may write.
    To(String),
    /// Others can change this on the way, and so where it leads.
    AsOthersLike(PathBuf),
}

impl Leads {
    /// The file's own path, if it is another.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::To(target) => Some(target),
            Self::Nowhere | Self::AsOthersLike(_) => None,
        }
    }
}

/// Follows the links of a whole path, one name at a time, as the kernel does: each folder is judged
/// before what is read in it is believed.
///
/// # Errors
/// It leads to nothing, or cannot be read.
pub(super) fn follow(path: &Path, own: u32) -> io::Result<Leads> {
    let mut at = PathBuf::from("/");
    let mut folder = fs::symlink_metadata(&at)?;
    let mut ahead = reversed(path);
    let mut links = 0;
    let mut others = None;
    while let Some(name) = ahead.pop() {
        if name == OsStr::new("..") {
            at.pop();
            folder = fs::symlink_metadata(&at)?;
            continue;
        }
        let next = at.join(name);
        let entry = fs::symlink_metadata(&next)?;
        if !is_kept(&folder, &entry, own) {
            others.get_or_insert_with(|| next.clone());
        }
        if !entry.is_symlink() {
            (at, folder) = (next, entry);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
            folder = fs::symlink_metadata(&at)?;
        }
        ahead.extend(reversed(&target));
    }
    Ok(match (links, others) {
        (0, _) => Leads::Nowhere,
        (_, Some(others)) => Leads::AsOthersLike(others),
        (_, None) => at
            .to_str()
            .map_or(Leads::Nowhere, |target| Leads::To(target.to_owned())),
    })
}

/// Its names, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Whether nobody but root and the user `own` can put something else in the place of `entry`.
fn is_kept(folder: &Metadata, entry: &Metadata, own: u32) -> bool {
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o022;
    let is_trusted = |of: &Metadata| of.uid() == 0 || of.uid() == own;
    // In a sticky folder whoever owns an entry may replace it, and nobody else but the folder's owner.
    let is_shut =
        folder.mode() & OTHERS_WRITE == 0 || (folder.mode() & STICKY != 0 && is_trusted(entry));
    is_trusted(folder) && is_shut && (!entry.is_symlink() || is_trusted(entry))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

    use nix::unistd::geteuid;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            for folder in ["links", "files"] {
                fs::create_dir(files.at(folder)).unwrap();
                mode(&files.at(folder), 0o755);
            }
            fs::write(files.at("files/app"), "").unwrap();
            symlink("../files/app", files.at("links/first")).unwrap();
            symlink(files.at("links/first"), files.at("links/second")).unwrap();
            files
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(name)
        }

        fn leads(&self, own: u32) -> Leads {
            follow(&self.at("links/second"), own).unwrap()
        }
    }

    #[test]
    fn a_link_is_followed_only_while_nobody_else_can_change_what_is_on_its_way() {
        let files = Files::new();
        let own = geteuid().as_raw();
        let app = files.at("files/app").to_str().unwrap().to_owned();
        assert_eq!(files.leads(own), Leads::To(app.clone()));
        let others = |name: &str| Leads::AsOthersLike(files.at(name));
        for (folder, entry) in [("links", "links/second"), ("files", "files/app")] {
            for open in [0o775, 0o757] {
                mode(&files.at(folder), open);
                assert_eq!(files.leads(own), others(entry), "{folder} {open:o}");
            }
            mode(&files.at(folder), 0o1777);
            assert_eq!(files.leads(own), Leads::To(app.clone()), "sticky, and ours");
            mode(&files.at(folder), 0o755);
        }
        // A plain path needs no trust: a task has it by where its file is.
        mode(&files.at("files"), 0o777);
        assert_eq!(follow(Path::new(&app), own).unwrap(), Leads::Nowhere);
    }

    #[test]
    fn a_link_or_a_folder_of_another_user_is_not_followed() {
        let files = Files::new();
        let app = files.at("files/app").to_str().unwrap().to_owned();
        const SOMEBODY: u32 = 4711;
        if !geteuid().is_root() {
            // All of it is then of a user who is another than that.
            assert!(matches!(files.leads(SOMEBODY), Leads::AsOthersLike(_)));
            return;
        }
        let gives = |name: &str| lchown(files.at(name), Some(SOMEBODY), None).unwrap();
        let takes = |name: &str| lchown(files.at(name), Some(0), None).unwrap();
        for (name, entry) in [("links", "links/second"), ("links/first", "links/first")] {
            gives(name);
            assert_eq!(files.leads(0), Leads::AsOthersLike(files.at(entry)));
            assert_eq!(files.leads(SOMEBODY), Leads::To(app.clone()), "its own");
            takes(name);
        }
        // The file may be its user's, who writes to it and not to where it is.
        gives("files/app");
        assert_eq!(files.leads(0), Leads::To(app));
        mode(&files.at("files"), 0o1777);
        assert_eq!(files.leads(0), Leads::AsOthersLike(files.at("files/app")));
    }

    #[test]
    fn a_circle_of_links_ends_and_what_leads_to_nothing_is_told() {
        let files = Files::new();
        symlink("round", files.at("links/round")).unwrap();
        symlink("nothing", files.at("links/lost")).unwrap();
        let error = |name: &str| follow(&files.at(name), 0).unwrap_err();
        assert_eq!(
            error("links/round").raw_os_error(),
            Some(Errno::ELOOP as i32)
        );
        assert_eq!(error("links/lost").kind(), io::ErrorKind::NotFound);
    }
}
