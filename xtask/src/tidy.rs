//! The part of lint that looks at the tree itself.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::CommandFactory as _;

use crate::{Cli, cmd};

/// Lines of a source file: above the first a word, above the second an error.
const LONG: usize = 300;
const TOO_LONG: usize = 400;

/// Folders that exist on one machine only; split, so that this file passes its own check.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// A file of the tree: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let commands = commands();
    let mut errors = Vec::new();
    for file in &files {
        size(file, &mut errors);
        machine_paths(file, &mut errors);
        documents(file, &commands, &mut errors);
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

fn files() -> Result<Vec<File>> {
    let list = cmd::output(Command::new("git").current_dir(cmd::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut files = Vec::new();
    for path in list.lines() {
        let full = cmd::root().join(path);
        // Deleted but not committed yet.
        if !full.exists() {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("reading {path}"))?;
        // What is not text has none of these faults.
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

fn commands() -> Vec<String> {
    Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

fn size(file: &File, errors: &mut Vec<String>) {
    if !file.path.ends_with(".rs") {
        return;
    }
    if file.path.ends_with("/mod.rs") {
        errors.push(format!(
            "{}: modules are foo.rs beside foo/, never mod.rs",
            file.path
        ));
    }
    let is_test = file.path.starts_with("tests/") || file.path.ends_with("/tests.rs");
    let lines = file.text.lines().count();
    if lines > TOO_LONG && !is_test {
        errors.push(format!(
            "{}: {lines} lines; {TOO_LONG} is the limit, split it",
            file.path
        ));
    } else if lines > LONG && !is_test {
        println!("{}: {lines} lines; aim below {LONG}", file.path);
    }
}

fn machine_paths(file: &File, errors: &mut Vec<String>) {
    for path in MACHINE_PATHS {
        if file.text.contains(path) {
            errors.push(format!(
                "{}: names {path}, which is a path of one machine",
                file.path
            ));
        }
    }
}

fn documents(file: &File, commands: &[String], errors: &mut Vec<String>) {
    if !file.path.ends_with(".md") {
        return;
    }
    for name in named_commands(&file.text) {
        if !commands.iter().any(|command| command == name) {
            errors.push(format!(
                "{}: `cargo xtask {name}` does not exist",
                file.path
            ));
        }
    }
    for word in file
        .text
        .split_whitespace()
        .filter(|word| has_line_number(word))
    {
        errors.push(format!(
            "{}: {word} points at a line, which moves; name the item",
            file.path
        ));
    }
}

fn named_commands(text: &str) -> impl Iterator<Item = &str> {
    text.split("cargo xtask ").skip(1).filter_map(|rest| {
        let name = rest
            .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
            .next()?;
        // `cargo xtask COMMAND` is a pattern.
        (!name.is_empty()).then_some(name)
    })
}

/// `file.rs:12` or `file.rs#L12`.
fn has_line_number(word: &str) -> bool {
    [".rs:", ".rs#L", ".toml:", ".toml#L"].iter().any(|mark| {
        word.split_once(mark)
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_document_that_names_a_command_which_does_not_exist_is_an_error() {
        let mut errors = Vec::new();
        let readme = file(
            "README.md",
            "`cargo xtask demo` and `cargo xtask test-root`, cargo xtask COMMAND",
        );
        documents(&readme, &commands(), &mut errors);
        assert_eq!(
            errors,
            ["README.md: `cargo xtask test-root` does not exist"]
        );
    }

    #[test]
    fn line_numbers_in_documents_are_errors_and_addresses_are_not() {
        assert!(has_line_number("`proxy/src/addr.rs:12`"));
        assert!(has_line_number("addr.rs#L12"));
        assert!(!has_line_number("10.0.0.1:80"));
        assert!(!has_line_number("addr.rs: the addresses"));
    }

    #[test]
    fn long_files_and_mod_rs_are_errors_but_long_tests_are_not() {
        let mut errors = Vec::new();
        let long = "\n".repeat(TOO_LONG + 1);
        size(&file("proxy/src/a.rs", &long), &mut errors);
        size(&file("proxy/src/a/tests.rs", &long), &mut errors);
        size(&file("proxy/src/b/mod.rs", ""), &mut errors);
        assert_eq!(errors.len(), 2, "{errors:?}");
    }
}
