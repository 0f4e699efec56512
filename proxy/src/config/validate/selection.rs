//! `[select.NAME]`: which workloads a rule is about.

use nix::unistd::User;
use sidetrack_abi::rules::CGROUP_DEPTH;

use crate::config::{Intercept, Select, Selector, errors::Problems, file};

pub(super) fn select(
    problems: &mut Problems,
    key: &str,
    file: &file::Select,
    intercept: &Intercept,
) -> Select {
    if file.include.is_empty() {
        problems.missing(
            &format!("{key}.include"),
            "a selection without include selects nothing",
            "name what it selects, like include = [{ unit = \"web.service\" }]",
        );
    }
    let mut selectors = |list: &str, from: &[file::Selector]| -> Vec<Selector> {
        let mut found = Vec::with_capacity(from.len());
        for (index, one) in from.iter().enumerate() {
            let key = format!("{key}.{list}[{index}]");
            let Some(selector) = selector(problems, &key, one) else {
                continue;
            };
            if let Some(cgroup) = &selector.cgroup
                && list == "include"
                && !is_below(cgroup, &intercept.cgroup)
            {
                problems.bad(
                    &key,
                    cgroup,
                    format!(
                        "this is outside intercept.cgroup, {:?}: its connections would go \
                         direct, past every rule",
                        intercept.cgroup
                    ),
                    "widen intercept.cgroup, or leave the selector out",
                );
            }
            found.push(selector);
        }
        found
    };
    Select {
        include: selectors("include", &file.include),
        exclude: selectors("exclude", &file.exclude),
    }
}

fn selector(problems: &mut Problems, key: &str, file: &file::Selector) -> Option<Selector> {
    let cgroup = match (&file.cgroup, &file.unit) {
        (Some(_), Some(_)) => {
            problems.missing(
                key,
                "cgroup and unit both say where the workload is",
                "keep one of them",
            );
            return None;
        }
        (Some(path), None) => Some(cgroup_path(problems, &format!("{key}.cgroup"), path)?),
        (None, Some(unit)) => Some(unit_path(problems, &format!("{key}.unit"), unit)?),
        (None, None) => None,
    };
    let uid = match (file.uid, &file.user) {
        (Some(_), Some(_)) => {
            problems.missing(key, "uid and user both name the user", "keep one of them");
            return None;
        }
        (Some(uid), None) => Some(checked_uid(problems, &format!("{key}.uid"), uid)?),
        (None, Some(user)) => Some(resolved_uid(problems, &format!("{key}.user"), user)?),
        (None, None) => None,
    };
    if cgroup.is_none() && uid.is_none() {
        // What stood there may be a mistyped key, and is reported then.
        if !problems.ignored_within(key) {
            problems.missing(
                key,
                "an empty selector would match every task",
                "name cgroup, unit, uid or user; for everything, leave select out of the rule",
            );
        }
        return None;
    }
    Some(Selector { cgroup, uid })
}

/// A path below the cgroup2 root, without a slash at its end.
pub(super) fn cgroup_path(problems: &mut Problems, key: &str, path: &str) -> Option<String> {
    const FIX: &str = "write a path below the cgroup2 root, like \"/system.slice/web.service\"; \
                       `systemd-cgls` shows them";
    if path.contains(['*', '?', '[']) {
        problems.bad(
            key,
            path,
            "this version has no patterns in cgroup paths yet",
            "name the cgroup above: all below it are selected",
        );
        return None;
    }
    if path.starts_with("/sys/fs/cgroup") {
        problems.bad(
            key,
            path,
            "the path begins at the cgroup2 root, wherever that is mounted",
            "leave /sys/fs/cgroup away",
        );
        return None;
    }
    let Some(rest) = path.strip_prefix('/') else {
        problems.bad(key, path, "the path does not begin with '/'", FIX);
        return None;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    if !rest.is_empty() && rest.split('/').any(bad) {
        problems.bad(key, path, "a part of the path is empty, '.' or '..'", FIX);
        return None;
    }
    within_depth(problems, key, format!("/{rest}"))
}

/// The programs look through so many levels: what is named deeper would never be found.
fn within_depth(problems: &mut Problems, key: &str, path: String) -> Option<String> {
    let depth = path.split('/').filter(|part| !part.is_empty()).count();
    if depth <= CGROUP_DEPTH as usize {
        return Some(path);
    }
    problems.bad(
        key,
        path,
        format!(
            "it is {depth} levels below the cgroup2 root; cgroups are told apart down to level \
             {CGROUP_DEPTH}"
        ),
        "name a cgroup above it: all below that are selected",
    );
    None
}

/// Where systemd puts a unit of the system manager that does not set `Slice=`
/// (systemd.slice(5), systemd.special(7)).
fn unit_path(problems: &mut Problems, key: &str, unit: &str) -> Option<String> {
    const FIX: &str = "write a service, scope or slice of the system manager, like \
                       \"web.service\"; for anything else use cgroup, with the path that \
                       `systemctl show -P ControlGroup UNIT` prints";
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    let Some((name, kind)) = unit.rsplit_once('.') else {
        problems.bad(key, unit, "a unit's name ends with its type", FIX);
        return None;
    };
    if !unit.chars().all(plain) || name.is_empty() || unit.len() > 255 {
        problems.bad(key, unit, "this is not the plain name of one unit", FIX);
        return None;
    }
    match (kind, name.split_once('@')) {
        ("slice", None) => match slice_path(name) {
            Some(path) => within_depth(problems, key, path),
            None => {
                problems.bad(key, unit, "no slice can have this name", FIX);
                None
            }
        },
        ("service" | "scope", None) => Some(format!("/system.slice/{unit}")),
        ("service", Some((template, instance))) if !template.is_empty() && !instance.is_empty() => {
            // Dashes nest slices, so systemd escapes those of the template's name.
            let slice = template.replace('-', "\\x2d");
            Some(format!("/system.slice/system-{slice}.slice/{unit}"))
        }
        _ => {
            problems.bad(
                key,
                unit,
                "units of this type have no cgroup of their own",
                FIX,
            );
            None
        }
    }
}

/// `a-b.slice` is `/a.slice/a-b.slice`; `-.slice` is the root.
fn slice_path(name: &str) -> Option<String> {
    if name == "-" {
        return Some("/".into());
    }
    if name.split('-').any(str::is_empty) {
        return None;
    }
    let ends = name.match_indices('-').map(|(end, _)| end);
    let prefixes = ends.chain([name.len()]).filter_map(|end| name.get(..end));
    Some(prefixes.map(|prefix| format!("/{prefix}.slice")).collect())
}

fn is_below(path: &str, root: &str) -> bool {
    root == "/"
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn checked_uid(problems: &mut Problems, key: &str, uid: i64) -> Option<u32> {
    // The highest is "no user" to the kernel (-1).
    match u32::try_from(uid).ok().filter(|uid| *uid != u32::MAX) {
        Some(uid) => Some(uid),
        None => {
            problems.bad(key, uid, "no user has this id", "write 0 to 4294967294");
            None
        }
    }
}

pub(super) fn resolved_uid(problems: &mut Problems, key: &str, user: &str) -> Option<u32> {
    let reason = match User::from_name(user) {
        Ok(Some(found)) => return Some(found.uid.as_raw()),
        Ok(None) => "this host has no user of this name".into(),
        Err(error) => format!("looking up the user failed: {}", error.desc()),
    };
    problems.bad(key, user, reason, "compare `getent passwd`, or write uid");
    None
}
