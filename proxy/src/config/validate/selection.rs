//! `[select.NAME]`: which workloads a rule is about.

use nix::unistd::User;

use super::cgroups;
use crate::config::{
    Intercept, Select, Selector,
    cgroup::{Below, CgroupPattern},
    errors::Problems,
    file,
};

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
                && is_outside(cgroup, &intercept.cgroup)
            {
                problems.bad(
                    &key,
                    cgroup.to_string(),
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
        (Some(path), None) => Some(cgroups::pattern(problems, &format!("{key}.cgroup"), path)?),
        (None, Some(unit)) => Some(cgroups::unit(problems, &format!("{key}.unit"), unit)?),
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

/// Whether everything that the pattern matches is outside `top`.
fn is_outside(pattern: &CgroupPattern, top: &str) -> bool {
    match pattern.literal() {
        Some(path) => !is_below(path, top),
        None => pattern.below(pattern.path(top)) == Below::None,
    }
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
