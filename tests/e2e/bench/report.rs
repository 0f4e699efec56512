//! The command, on every path that this host has.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
};

use harness::sidetrack_bin;
use serde_json::Value;
use sidetrack_bench::path::{self, Kind};

use super::left;

/// Paths that can be set up here.
fn here() -> BTreeSet<&'static str> {
    let kinds = Kind::ALL.into_iter();
    let there = kinds.filter(|kind| match path::available(*kind) {
        Ok(()) => true,
        Err(missing) => {
            eprintln!("skipped: {kind}: {missing}");
            false
        }
    });
    there.map(Kind::name).collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_benchmark_runs_on_this_host_and_its_report_has_every_path_that_can_be_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Command::new(sidetrack_bin());
    bench.args(["bench", "--peers", "--profile", "smoke", "--json", "--out"]);
    bench.arg(folder.path());
    let child = bench
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mark = format!("bench-{}-", child.id());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);

    let here = here();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut seen = BTreeSet::new();
    for case in report["cases"].as_array().unwrap() {
        for column in case["columns"].as_array().unwrap() {
            let kind = column["path"]["kind"].as_str().unwrap();
            if !here.contains(kind) {
                assert_eq!(column["ended"]["missing"], true, "{kind}: {column}");
                continue;
            }
            let name = &case["name"];
            let figures = column["figures"].as_array().unwrap();
            assert!(!figures.is_empty(), "{name}, {kind}: {column}");
            seen.insert(kind.to_owned());
        }
    }
    let seen: BTreeSet<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, here, "each path has a case");
    for file in ["report.json", "report.html"] {
        assert!(folder.path().join(file).is_file(), "{file}");
    }
    assert_eq!(left(&mark), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn who_is_not_root_is_told_that_it_takes_root() {
    // Nobody is root in a user namespace of which nothing is mapped.
    let output = Command::new("unshare")
        .arg("--user")
        .arg(sidetrack_bin())
        .arg("bench")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("takes root"), "{said}");
}
