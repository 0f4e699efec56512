//! Folders of a temporary directory stand for cgroups: both are read alike.

use std::{collections::HashMap, fs, path::PathBuf};

use super::*;
use crate::kernel::rules::tests::rules_for_cgroups;

/// The kernel's table, as it would be after what it was told.
#[derive(Default)]
struct Told {
    table: HashMap<u64, CgroupClass>,
    room: Option<usize>,
}

struct Tree {
    folder: tempfile::TempDir,
    /// What was removed: a file system gives the number of a folder that is gone to another, which
    /// the kernel never does with a cgroup's.
    removed: tempfile::TempDir,
    tables: RuleTables,
    known: Known,
    told: Told,
}

impl Tree {
    /// With a rule for those that the patterns select.
    fn new(patterns: &[&str]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            removed: tempfile::tempdir().unwrap(),
            tables: rules_for_cgroups(patterns),
            known: Known::default(),
            told: Told::default(),
        }
    }

    /// Class of a cgroup once it is known.
    fn is(&self, path: &str) -> Option<CgroupClass> {
        Some(self.tables.class(&self.tables.place(path)))
    }

    fn at(&self, path: &str) -> PathBuf {
        crate::kernel::cgroup::folder(self.folder.path(), path)
    }

    fn make(&self, path: &str) -> u64 {
        fs::create_dir_all(self.at(path)).unwrap();
        crate::kernel::cgroup::id(&self.at(path)).unwrap()
    }

    fn remove(&self, path: &str) {
        let id = crate::kernel::cgroup::id(&self.at(path)).unwrap();
        fs::rename(self.at(path), self.removed.path().join(id.to_string())).unwrap();
    }

    fn look(&mut self, at: Option<&str>) {
        let view = View {
            mount: self.folder.path(),
            top: "/",
            tables: &self.tables,
            watch: None,
        };
        let told = &mut self.told;
        let mut tell = |change| match change {
            Change::Appeared(id, class) => {
                let fits = told.room.is_none_or(|room| told.table.len() < room);
                if fits {
                    assert_eq!(told.table.insert(id, class), None, "told twice");
                }
                fits
            }
            Change::Gone(id) => told.table.remove(&id).is_some(),
        };
        match at {
            None => self.known.look(&view, &mut tell).unwrap(),
            Some(folder) => self.known.look_at(&view, folder, &mut tell).unwrap(),
        }
    }

    /// Class in the table, `None` if the cgroup is not in it.
    fn class(&self, id: u64) -> Option<CgroupClass> {
        self.told.table.get(&id).copied()
    }
}

#[test]
fn every_cgroup_beside_a_named_one_is_told_of_and_none_below_others() {
    let mut tree = Tree::new(&["/s/web", "/s/t/web"]);
    let web = tree.make("/s/web");
    let beside = tree.make("/s/other");
    let deep = tree.make("/s/other/deep");
    let inside = tree.make("/s/web/inside");
    fs::write(tree.at("/s/cgroup.procs"), "").unwrap();
    tree.look(None);
    assert_eq!(tree.class(web), tree.is("/s/web"));
    assert_eq!(tree.class(beside), tree.is("/elsewhere"));
    assert_eq!((tree.class(deep), tree.class(inside)), (None, None));
    // The root, s, web and other.
    assert_eq!(tree.told.table.len(), 4);
}

#[test]
fn a_cgroup_that_is_made_again_is_told_of_by_its_new_id() {
    let mut tree = Tree::new(&["/s/web", "/s/t/web"]);
    let before = tree.make("/s/t/web");
    tree.look(None);
    assert_eq!(tree.class(before), tree.is("/s/web"));
    tree.remove("/s/t");
    let others = [tree.make("/x"), tree.make("/y")];
    let after = tree.make("/s/t/web");
    tree.look(Some("/s"));
    tree.look(Some("/"));
    assert_eq!(tree.class(after), tree.is("/s/web"));
    assert_eq!(tree.class(others[1]), tree.is("/elsewhere"));
    tree.look(None);
    assert_eq!(tree.told.table.len(), 6, "{:?}", tree.told.table);
}

#[test]
fn what_is_gone_is_taken_out_with_all_below_it() {
    let mut tree = Tree::new(&["/s/web", "/s/t/web"]);
    tree.make("/s/t/web");
    tree.make("/s/t/other");
    tree.look(None);
    tree.remove("/s");
    tree.look(Some("/"));
    assert_eq!(tree.told.table.len(), 1, "the root alone is left");
    assert!(!tree.known.reads("/s/t") && tree.known.reads("/"));
}

#[test]
fn where_there_is_no_room_named_cgroups_come_first_and_others_later() {
    let mut tree = Tree::new(&["/s/web", "/s/t/web"]);
    tree.told.room = Some(3);
    let named = tree.make("/s/web");
    for other in 0..5 {
        tree.make(&format!("/s/other-{other}"));
    }
    tree.look(None);
    assert!(tree.class(named).is_some());
    assert_eq!(tree.told.table.len(), 3);
    tree.told.room = None;
    tree.look(None);
    assert_eq!(tree.told.table.len(), 8, "tried again");
}

#[test]
fn where_all_are_selected_none_has_to_be_told_of() {
    let mut tree = Tree::new(&["/pods/*"]);
    let pods = tree.make("/pods");
    let pod = tree.make("/pods/one");
    tree.look(None);
    assert_eq!(tree.class(pods), tree.is("/pods"));
    assert_eq!(tree.class(pod), None, "it has the class below pods");
    let unknown = tree.class(pods).unwrap().below;
    assert_eq!(tree.is("/pods/one").unwrap().own, unknown);
    assert!(!tree.known.reads("/pods"));
}

#[test]
fn a_cgroup_at_any_depth_is_found_and_none_is_read_below_it() {
    let mut tree = Tree::new(&["/pods/**/web-*"]);
    tree.make("/other/web-1");
    tree.make("/pods/a");
    tree.look(None);
    let deep = tree.make("/pods/a/b/web-1");
    let inside = tree.make("/pods/a/b/web-1/x");
    let beside = tree.make("/pods/a/b/db");
    tree.look(Some("/pods/a"));
    assert_eq!(tree.class(deep), tree.is("/pods/web-2"));
    assert_eq!(tree.class(beside), tree.is("/pods"));
    assert_eq!(tree.class(inside), None);
    assert!(tree.known.reads("/pods/a/b/db") && !tree.known.reads("/other"));
    assert!(!tree.known.reads("/pods/a/b/web-1"));
}
