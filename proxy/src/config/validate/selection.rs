//! `[select.NAME]`: which workloads a rule is about.

use nix::unistd::{Group, User};

use super::{cgroups, netns};
use crate::config::{
    Executable, Intercept, Select, Selector,
    cgroup::{Below, CgroupPattern, NoNames},
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
            if list == "exclude"
                && let Some(found) = selector.executable.as_ref()
                && found.is_set_id()
            {
                problems.warnings.push(format!(
                    "{key}.exe = {:?}: it is set-uid or set-gid, and whoever may make user \
                     namespaces can pass for it without what it asks of them: this excludes them \
                     too. Say a cgroup or a user with it",
                    found.path
                ));
            }
            if list == "include" {
                netns::warn_of_unserved(problems, &key, &selector.netns, &intercept.netns);
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
    let cgroup = match (&file.cgroup, &file.unit, &file.container) {
        (None, None, Some(container)) => {
            let key = format!("{key}.container");
            Some(cgroups::container(problems, &key, container)?)
        }
        (Some(path), None, None) => {
            Some(cgroups::pattern(problems, &format!("{key}.cgroup"), path)?)
        }
        (None, Some(unit), None) => Some(cgroups::unit(problems, &format!("{key}.unit"), unit)?),
        (None, None, None) => None,
        _ => {
            problems.missing(
                key,
                "cgroup, unit and container each say where the workload is",
                "keep one of them",
            );
            return None;
        }
    };
    let uid = match (file.uid, &file.user) {
        (Some(_), Some(_)) => {
            problems.missing(key, "uid and user both name the user", "keep one of them");
            return None;
        }
        (Some(uid), None) => Some(checked_id(problems, &format!("{key}.uid"), uid, "user")?),
        (None, Some(user)) => Some(resolved_uid(problems, &format!("{key}.user"), user)?),
        (None, None) => None,
    };
    let gid = match (file.gid, &file.group) {
        (Some(_), Some(_)) => {
            problems.missing(key, "gid and group both name the group", "keep one of them");
            return None;
        }
        (Some(gid), None) => Some(checked_id(problems, &format!("{key}.gid"), gid, "group")?),
        (None, Some(group)) => Some(resolved_gid(problems, &format!("{key}.group"), group)?),
        (None, None) => None,
    };
    let executable = match &file.exe {
        Some(path) => Some(executable(problems, &format!("{key}.exe"), path)?),
        None => None,
    };
    let netns = match &file.netns {
        Some(texts) => netns::selectors(problems, &format!("{key}.netns"), texts)?,
        None => Vec::new(),
    };
    let selector = Selector {
        cgroup,
        uid,
        gid,
        executable,
        netns,
    };
    if selector == Selector::default() {
        // What stood there may be a mistyped key, and is reported then.
        if !problems.ignored_within(key) {
            problems.missing(
                key,
                "an empty selector would match every task",
                "name cgroup, unit, container, user, group, exe or netns; for everything, leave select out of the rule",
            );
        }
        return None;
    }
    Some(selector)
}

/// Whether everything that the pattern matches is outside `top`.
fn is_outside(pattern: &CgroupPattern, top: &str) -> bool {
    match pattern.literal() {
        Some(path) => !is_below(path, top),
        None => pattern.below(pattern.path(top, &NoNames)) == Below::None,
    }
}

fn is_below(path: &str, root: &str) -> bool {
    root == "/"
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn checked_id(problems: &mut Problems, key: &str, id: i64, whose: &str) -> Option<u32> {
    // The highest is "nobody" to the kernel (-1).
    match u32::try_from(id).ok().filter(|id| *id != u32::MAX) {
        Some(id) => Some(id),
        None => {
            let reason = format!("no {whose} has this id");
            problems.bad(key, id, reason, "write 0 to 4294967294");
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

fn executable(problems: &mut Problems, key: &str, path: &str) -> Option<Executable> {
    match Executable::parse(path) {
        Ok(found) => {
            if !found.exists() {
                problems.warnings.push(format!(
                    "{key} = {path:?}: there is no such file now; it is selected once there is"
                ));
            }
            let not_followed = found.not_followed();
            let not_followed = not_followed.map(|text| format!("{key}: {text}"));
            problems.warnings.extend(not_followed);
            Some(found)
        }
        Err(error) => {
            problems.bad(
                key,
                path,
                error.to_string(),
                "write the whole path, like \"/usr/bin/curl\"; `readlink /proc/PID/exe` shows that of a \
                 process",
            );
            None
        }
    }
}

fn resolved_gid(problems: &mut Problems, key: &str, group: &str) -> Option<u32> {
    let reason = match Group::from_name(group) {
        Ok(Some(found)) => return Some(found.gid.as_raw()),
        Ok(None) => "this host has no group of this name".into(),
        Err(error) => format!("looking up the group failed: {}", error.desc()),
    };
    problems.bad(key, group, reason, "compare `getent group`, or write gid");
    None
}
