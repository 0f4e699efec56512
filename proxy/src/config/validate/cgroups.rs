//! Cgroups as selections name them: by path, by pattern, by systemd unit.

use sidetrack_abi::rules::CGROUP_DEPTH;

use crate::config::{
    cgroup::{BadPattern, CgroupPattern, Part, WILDCARDS, names},
    errors::Problems,
};

const FIX: &str = "write a path below the cgroup2 root, like \"/system.slice/web.service\"; \
                   `systemd-cgls` shows them";

/// A path below the cgroup2 root, without a slash at its end.
pub(super) fn path(problems: &mut Problems, key: &str, path: &str) -> Option<String> {
    if path.contains(WILDCARDS) {
        problems.bad(
            key,
            path,
            "this names one cgroup, and has no patterns",
            "name the cgroup above: it is for all below",
        );
        return None;
    }
    let path = plain(problems, key, path)?;
    within_depth(problems, key, &path, names(&path).count())?;
    Some(path)
}

/// A path whose levels may be patterns.
pub(super) fn pattern(problems: &mut Problems, key: &str, text: &str) -> Option<CgroupPattern> {
    let path = plain(problems, key, text)?;
    whole(problems, key, &path, CgroupPattern::parse(&path))
}

/// A unit of systemd's system manager. Its cgroup bears its name and is in its slice, wherever
/// that is (systemd.slice(5)): only root makes cgroups in slices, so that no user can take the
/// name.
pub(super) fn unit(problems: &mut Problems, key: &str, unit: &str) -> Option<CgroupPattern> {
    const FIX: &str = "write a service, scope or slice of the system manager, like \
                       \"web.service\" or \"web@*.service\"; for anything else use cgroup, with \
                       the path that `systemctl show -P ControlGroup UNIT` prints";
    let mut bad = |reason: &str| {
        problems.bad(key, unit, reason, FIX);
        None
    };
    let Some((name, kind)) = unit.rsplit_once('.') else {
        return bad("a unit's name ends with its type");
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@\\!*?[]".contains(c);
    if !unit.chars().all(plain) || name.is_empty() || unit.len() > 255 {
        return bad("this is not the plain name of one unit");
    }
    if !matches!(kind, "service" | "scope" | "slice") {
        return bad("units of this type have no cgroup of their own");
    }
    if kind != "service" && name.contains('@') || name.starts_with('@') {
        return bad("no unit can have this name");
    }
    if name.ends_with('@') {
        return bad("this is a template, of which there are only instances");
    }
    match (kind, Part::parse(unit)) {
        ("slice", Ok(Part::Name(_))) => match slice_path(name) {
            Some(path) => whole(problems, key, &path, CgroupPattern::parse(&path)),
            None => bad("no slice can have this name"),
        },
        (_, part) => {
            let pattern = part.and_then(|part| CgroupPattern::new(unit, vec![Part::Slices, part]));
            whole(problems, key, unit, pattern)
        }
    }
}

/// A container, by the cgroup that its runtime makes for it (Docker, Podman, containerd, CRI-O).
/// That of a user's own runtime is below `user@UID.service`, where the user may name cgroups at
/// will: it is not meant.
pub(super) fn container(
    problems: &mut Problems,
    key: &str,
    container: &str,
) -> Option<CgroupPattern> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.!*?[]".contains(c);
    if container.is_empty() || !container.chars().all(is_plain) {
        problems.bad(
            key,
            container,
            "no container has this name or id",
            "write what `docker ps`, `podman ps` or `crictl ps` shows as its name, or its id",
        );
        return None;
    }
    let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let part = if (12..=64).contains(&container.len()) && container.chars().all(is_hex) {
        Ok(Part::ContainerId(container.to_owned()))
    } else {
        Part::parse(container).map(|name| Part::ContainerName(Box::new(name)))
    };
    let pattern = part.and_then(|part| CgroupPattern::new(container, vec![Part::Runtimes, part]));
    whole(problems, key, container, pattern)
}

fn plain(problems: &mut Problems, key: &str, path: &str) -> Option<String> {
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
    Some(format!("/{rest}"))
}

fn whole(
    problems: &mut Problems,
    key: &str,
    text: &str,
    pattern: Result<CgroupPattern, BadPattern>,
) -> Option<CgroupPattern> {
    let pattern = match pattern {
        Ok(pattern) => pattern,
        Err(error) => {
            let fix = match error {
                BadPattern::Endless => {
                    "leave it away, or write * for the cgroups below and not the one above them"
                }
                BadPattern::Level { .. } | BadPattern::Long => {
                    "within one level * is any text, ? any character and [a-z] one of these; ** \
                     alone is any number of levels"
                }
            };
            problems.bad(key, text, error.to_string(), fix);
            return None;
        }
    };
    within_depth(problems, key, text, pattern.levels())?;
    Some(pattern)
}

/// The programs look through so many levels: what is named deeper would never be found.
fn within_depth(problems: &mut Problems, key: &str, path: &str, depth: usize) -> Option<()> {
    if depth <= CGROUP_DEPTH as usize {
        return Some(());
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
