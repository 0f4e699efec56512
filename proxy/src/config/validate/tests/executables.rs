use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

#[test]
fn an_executable_that_is_not_there_is_accepted_and_mentioned() {
    let with = |exe: &str| config(&format!("[select.x]\ninclude = [{{ exe = \"{exe}\" }}]\n"));
    let warned = with("/opt/no/such/file").warnings;
    assert!(
        warned
            .iter()
            .any(|warning| warning.contains("no such file"))
    );
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().canonicalize().unwrap().join("app");
    fs::write(&there, "").unwrap();
    assert_eq!(with(there.to_str().unwrap()).warnings, [""; 0]);
}

#[test]
fn an_executable_that_others_choose_or_can_pass_for_is_mentioned() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let warnings = |list: &str, name: &str| {
        let all = "include = [{ uid = 0 }]";
        let select = match list {
            "include" => format!("include = [{{ exe = {:?} }}]", at(name)),
            _ => format!("{all}\nexclude = [{{ exe = {:?} }}]", at(name)),
        };
        config(&format!("[select.x]\n{select}\n")).warnings
    };
    fs::write(at("app"), "").unwrap();
    fs::write(at("raises"), "").unwrap();
    fs::set_permissions(at("raises"), Permissions::from_mode(0o4755)).unwrap();
    symlink("app", at("link")).unwrap();
    assert_eq!(warnings("exclude", "link"), [""; 0]);
    assert_eq!(warnings("exclude", "app"), [""; 0]);
    assert_eq!(warnings("include", "raises"), [""; 0]);
    let [raises] = &warnings("exclude", "raises")[..] else {
        panic!("one warning");
    };
    assert!(
        raises.contains("exclude[0].exe") && raises.contains("set-uid"),
        "{raises}"
    );
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let [link] = &warnings("include", "link")[..] else {
        panic!("one warning");
    };
    assert!(
        link.contains("include[0].exe") && link.contains("not followed"),
        "{link}"
    );
}
