//! The executables that selections name, and how the programs find one of them by its path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sidetrack_abi::executable::{self, ExecutableKey, ExecutableStep, NO_EXECUTABLE};

/// Paths with their numbers, and the trie of their names from the last to the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Executables {
    numbers: BTreeMap<String, u32>,
    steps: HashMap<ExecutableKey, ExecutableStep>,
}

impl Executables {
    /// All of them, whole paths that [`crate::config::Executable`] has let through.
    pub(super) fn new(paths: BTreeSet<String>) -> Self {
        let mut found = Self::default();
        let mut taken = BTreeSet::from([NO_EXECUTABLE]);
        for path in paths {
            let mut number = hash(path.as_bytes());
            while !taken.insert(number) {
                number = number.wrapping_add(1);
            }
            found.add(&path, number);
            found.numbers.insert(path, number);
        }
        found
    }

    fn add(&mut self, path: &str, number: u32) {
        let mut state = 0;
        let mut last = None;
        for name in path.split('/').filter(|name| !name.is_empty()).rev() {
            // A name that is too long has no key, and no task has it either.
            let Some(key) = ExecutableKey::new(state, name.as_bytes()) else {
                return;
            };
            let step = ExecutableStep {
                next: self.steps.len() as u32 + 1,
                number: NO_EXECUTABLE,
            };
            state = self.steps.entry(key).or_insert(step).next;
            last = Some(key);
        }
        if let Some(step) = last.and_then(|key| self.steps.get_mut(&key)) {
            step.number = number;
        }
    }

    /// The number of a path that is named.
    pub(super) fn named(&self, path: &str) -> Option<u32> {
        self.numbers.get(path).copied()
    }

    /// The number of any path, as the programs find it.
    pub(super) fn number(&self, path: &str) -> u32 {
        executable::number(path, |key| self.steps.get(key).copied())
    }

    pub(super) fn are_all_in(&self, others: &Self) -> bool {
        self.numbers
            .iter()
            .all(|(path, number)| others.named(path) == Some(*number))
    }

    /// The numbers of all.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.numbers.values().copied()
    }

    /// The trie.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&ExecutableKey, &ExecutableStep)> {
        self.steps.iter()
    }
}

/// FNV-1a. A number goes with each connection, and must mean the same path after a reload and to the
/// next daemon: what it is made of is the path alone.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sidetrack_abi::executable::NAME_MAX;

    use super::*;

    fn of(paths: &[&str]) -> Executables {
        Executables::new(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    proptest! {
        #[test]
        fn the_trie_finds_a_path_if_and_only_if_it_is_named(
            named in prop::collection::btree_set("(/(a|b|ab|usr)){1,4}", 0..12),
            asked in "(/(a|b|ab|usr)){0,5}",
        ) {
            let executables = Executables::new(named.clone());
            let number = executables.number(&asked);
            prop_assert_eq!(number != NO_EXECUTABLE, named.contains(&asked));
            prop_assert_eq!(executables.named(&asked).unwrap_or(NO_EXECUTABLE), number);
            for path in &named {
                prop_assert_eq!(Some(executables.number(path)), executables.named(path));
            }
            let numbers: BTreeSet<u32> = named.iter().map(|path| executables.number(path)).collect();
            prop_assert_eq!(numbers.len(), named.len(), "each has one of its own");
        }
    }

    #[test]
    fn a_path_is_neither_found_by_its_end_nor_by_its_beginning() {
        let executables = of(&["/usr/bin/app", "/bin/app"]);
        for other in [
            "/app",
            "/usr",
            "/usr/bin",
            "/opt/usr/bin/app",
            "/opt/bin/app",
            "/",
        ] {
            assert_eq!(executables.number(other), NO_EXECUTABLE, "{other}");
        }
        assert_ne!(
            executables.number("/usr/bin/app"),
            executables.number("/bin/app")
        );
    }

    #[test]
    fn a_name_that_would_be_cut_off_is_never_taken_for_what_is_left_of_it() {
        let long = format!("/{}", "x".repeat(NAME_MAX));
        let executables = of(&[&long]);
        assert_ne!(executables.number(&long), NO_EXECUTABLE);
        assert_eq!(executables.number(&format!("{long}x")), NO_EXECUTABLE);
        let cut = format!("{long}x");
        assert_eq!(of(&[&cut]).number(&cut), NO_EXECUTABLE);
    }

    #[test]
    fn a_path_has_the_same_number_whatever_else_is_named() {
        let alone = of(&["/usr/bin/java"]).number("/usr/bin/java");
        let among = of(&["/a", "/usr/bin/java", "/z/bin/java"]).number("/usr/bin/java");
        assert_eq!(alone, among);
    }
}
