//! Executables that selections name, by path.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use sidetrack_abi::executable::{EXECUTABLE_NAMES, NAME_MAX};

pub mod leads;

use leads::Leads;

/// An executable, and what its path leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Executable {
    /// As it is written.
    pub path: String,
    /// Where that leads by symbolic links: a task has the path of the file itself.
    pub leads: Leads,
}

/// Why a text is no path of an executable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExecutable {
    /// A name alone, which anybody can give to a file of their own.
    #[error("the path does not begin at the root, and a name alone is anybody's to choose")]
    Relative,
    /// `.`, `..`, nothing.
    #[error("{0:?} is no name of a file, and the kernel compares names")]
    Name(String),
    /// Longer than the programs read.
    #[error("one of its names has more than {NAME_MAX} bytes")]
    LongName,
    /// Deeper than the programs read.
    #[error("it has more than {EXECUTABLE_NAMES} names")]
    Deep,
}

impl Executable {
    /// A whole path, looked up.
    ///
    /// # Errors
    /// [`BadExecutable`]
    pub fn parse(path: &str) -> Result<Self, BadExecutable> {
        let names = path.strip_prefix('/').ok_or(BadExecutable::Relative)?;
        for name in names.split('/') {
            if matches!(name, "" | "." | "..") {
                return Err(BadExecutable::Name(name.to_owned()));
            }
        }
        Self::fits(path)?;
        Ok(Self {
            path: path.to_owned(),
            leads: leads(path).unwrap_or(Leads::Nowhere),
        })
    }

    fn fits(path: &str) -> Result<(), BadExecutable> {
        let names = || path.split('/').filter(|name| !name.is_empty());
        if names().any(|name| name.len() > NAME_MAX) {
            return Err(BadExecutable::LongName);
        }
        match names().count() > EXECUTABLE_NAMES {
            true => Err(BadExecutable::Deep),
            false => Ok(()),
        }
    }

    /// The same, looked up again; `None` if it leads where it did. While it leads nowhere, as in the
    /// middle of an upgrade, it is what it was.
    pub fn looked_up_again(&self) -> Option<Self> {
        let leads = leads(&self.path).ok()?;
        (leads.target() != self.leads.target()).then(|| Self {
            path: self.path.clone(),
            leads,
        })
    }

    /// The paths that tasks may have.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(self.path.as_str()), self.leads.target()]
            .into_iter()
            .flatten()
    }

    /// Whether there is a file.
    pub fn exists(&self) -> bool {
        Path::new(&self.path).exists()
    }

    /// Whether who starts it gets the rights of its owner or its group.
    pub fn is_set_id(&self) -> bool {
        const SET_ID: u32 = 0o6000;
        Path::new(&self.path)
            .metadata()
            .is_ok_and(|file| file.is_file() && file.mode() & SET_ID != 0)
    }

    /// Why links on its path are not followed, if so, and what to do.
    pub fn not_followed(&self) -> Option<String> {
        let Leads::AsOthersLike(what) = &self.leads else {
            return None;
        };
        Some(format!(
            "{:?} leads by a symbolic link, and others than root can change {}: the link is not \
             followed, and only what has this very path counts. Name the file itself, or let \
             nobody but root own or write to the folders and links on the way",
            self.path,
            what.display()
        ))
    }
}

fn leads(path: &str) -> io::Result<Leads> {
    let own = nix::unistd::geteuid().as_raw();
    Ok(match leads::follow(Path::new(path), own)? {
        // A path that is none of the programs' is no task's either, as far as they can see.
        Leads::To(target) if Executable::fits(&target).is_err() => Leads::Nowhere,
        leads => leads,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn what_is_no_whole_path_of_a_file_is_refused_with_its_cause() {
        let long = format!("/{}", "x".repeat(NAME_MAX + 1));
        let deep = "/x".repeat(EXECUTABLE_NAMES + 1);
        for (path, error) in [
            ("java", BadExecutable::Relative),
            ("", BadExecutable::Relative),
            ("/", BadExecutable::Name(String::new())),
            ("/usr//java", BadExecutable::Name(String::new())),
            ("/usr/../java", BadExecutable::Name("..".into())),
            ("/usr/./java", BadExecutable::Name(".".into())),
            (&long, BadExecutable::LongName),
            (&deep, BadExecutable::Deep),
        ] {
            assert_eq!(Executable::parse(path), Err(error), "{path}");
        }
    }

    #[test]
    fn a_link_stands_for_itself_and_for_where_it_leads_also_while_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        let text = |name: &str| at(name).to_str().unwrap().to_owned();
        fs::write(at("one"), "").unwrap();
        fs::write(at("two"), "").unwrap();
        symlink("one", at("link")).unwrap();
        let link = Executable::parse(&text("link")).unwrap();
        assert!(link.paths().eq([text("link"), text("one")]));
        assert_eq!(link.looked_up_again(), None);
        fs::remove_file(at("link")).unwrap();
        assert_eq!(link.looked_up_again(), None, "it leads nowhere");
        symlink("two", at("link")).unwrap();
        let again = link.looked_up_again().unwrap();
        assert!(again.paths().eq([text("link"), text("two")]));
        let two = Executable::parse(&text("two")).unwrap();
        assert_eq!(two.leads, Leads::Nowhere);
    }
}
