//! The real maps, made small; folders of a temporary directory stand for cgroups.

use std::fs;

use super::{super::entries::rule_entries, *};
use crate::{
    config::Config,
    kernel::{
        cgroup::{folder, id},
        rules::{Made, Scope},
    },
};

/// Rules for cgroups whose name has `big` in it, which need much room, and for others.
fn rules() -> RuleTables {
    let ports: Vec<String> = (1..100).map(|port| format!("\"{}\"", port * 2)).collect();
    let text = format!(
        "version = 1\n\
         select.big.include = [{{ cgroup = \"/*big*\", uid = 1000 }}, {{ cgroup = \"/*big*\", uid = 0 }}]\n\
         select.web.include = [{{ cgroup = \"/*web*\" }}]\n\
         [[outbound]]\nname = \"big\"\nselect = \"big\"\nto = [\"10.0.0.0/8\"]\n\
         ports = [{}]\naction = \"passthrough\"\n\
         [[outbound]]\nname = \"web\"\nselect = \"web\"\nto = [\"10.0.0.0/8\"]\n\
         ports = [\"443\"]\naction = \"passthrough\"\n",
        ports.join(",")
    );
    let config = Config::parse(&text, Path::new("/f.toml")).unwrap();
    RuleTables::compile(&config, Scope::Selections, 1)
}

/// Entries of the rule trie for these cgroups and the one above them.
fn entries(cgroups: &[&str]) -> usize {
    let tables = rules();
    for cgroup in [&["/"], cgroups].concat() {
        tables.class(&tables.place(cgroup));
    }
    let made = tables.made_since(0).into_iter();
    made.map(|made| match made {
        Made::Rules {
            destination,
            selection,
            ranges,
        } => rule_entries(destination, selection, &ranges).len(),
        Made::Stage(..) => 0,
    })
    .sum()
}

struct Tree {
    folder: tempfile::TempDir,
    tables: RuleTables,
    classified: Classified,
    classes: Classes,
}

impl Tree {
    /// With room for so many cgroups and entries of the rule trie.
    fn with_room(cgroups: usize, rules_of: usize) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            tables: rules(),
            classified: Classified::create(cgroups).unwrap(),
            classes: Classes::with_room(rules_of).unwrap(),
        }
    }

    fn make(&self, path: &str) -> u64 {
        let at = folder(self.folder.path(), path);
        fs::create_dir_all(&at).unwrap();
        id(&at).unwrap()
    }

    fn look(&mut self) {
        let view = View {
            mount: self.folder.path(),
            top: "/",
            tables: &self.tables,
            watch: None,
        };
        let classes = &mut self.classes;
        let looked = self.classified.look(&view, classes, &Changed::Anywhere);
        looked.unwrap();
    }

    /// Whether the kernel has a cgroup with the class of `path`.
    fn has(&self, id: u64, path: &str) -> bool {
        let class = self.tables.class(&self.tables.place(path));
        self.classified.inner.get(&id, 0).ok() == Some(class)
    }

    fn faults(&self) -> Vec<Fault> {
        let left_out = &self.classified.left_out;
        left_out.faults(self.folder.path(), self.classes.why())
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_cgroup_whose_rules_do_not_fit_is_left_out_alone_and_named() {
    let room = entries(&["/big"]) - 1;
    assert!(
        entries(&["/web"]) < room,
        "it is that of /big that does not fit"
    );
    let mut tree = Tree::with_room(100, room);
    let big = tree.make("/big");
    tree.look();
    assert!(!tree.has(big, "/big"));
    let faults = tree.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    let what = &faults[0].what;
    assert!(
        what.starts_with("1 cgroups, the first of them /big,"),
        "{what}"
    );
    assert!(what.contains(&format!("holds {room}")), "{what}");

    let web = tree.make("/web");
    let both = tree.make("/other");
    tree.look();
    assert!(tree.has(web, "/web"), "what comes later is told");
    assert!(
        !tree
            .classes
            .fit(tree.tables.class(&tree.tables.place("/big")))
    );
    assert!(!tree.has(big, "/big") && !tree.has(both, "/big"));
    assert_eq!(tree.faults(), faults, "nobody else is left out");
    assert_eq!(tree.classified.left_out.told(), 1, "the log has it once");

    fs::remove_dir(folder(tree.folder.path(), "/big")).unwrap();
    tree.look();
    assert_eq!(tree.faults(), []);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn what_does_not_fit_takes_no_room_from_what_does() {
    let mut tree = Tree::with_room(100, entries(&["/web"]));
    let large = ["/big", "/big-web"].map(|path| (tree.make(path), path));
    tree.look();
    let web = tree.make("/web");
    tree.look();
    assert!(tree.has(web, "/web"));
    for (id, path) in large {
        assert!(!tree.has(id, path), "{path}");
    }
    let (mut stages, mut rules) = (0, 0);
    for made in tree.classes.told(&tree.tables) {
        match made {
            Made::Stage(..) => stages += 1,
            Made::Rules {
                destination,
                selection,
                ranges,
            } => rules += rule_entries(destination, selection, &ranges).len(),
        }
    }
    assert_eq!(tree.classes.stages().keys().count(), stages);
    assert_eq!(tree.classes.rules().keys().count(), rules);
    assert!(rules <= entries(&["/web"]), "those of /big are not there");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn cgroups_for_which_the_table_has_no_room_are_counted_and_named() {
    let mut tree = Tree::with_room(2, entries(&["/web"]));
    let cgroups = ["/web1", "/web2", "/web3"].map(|path| (tree.make(path), path));
    tree.look();
    let had = cgroups.iter().filter(|(id, path)| tree.has(*id, path));
    assert_eq!(had.count(), 1, "the other entry is that of the root");
    let faults = tree.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0]
            .what
            .starts_with("2 cgroups, the first of them /web")
    );
    assert!(faults[0].fix.contains("intercept.cgroup"));
}
