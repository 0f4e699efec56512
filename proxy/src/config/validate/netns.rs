//! `intercept.netns`, and the `netns` of selectors.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use super::cgroups;
use crate::{
    config::{NetnsSelector, NetnsSource, Select, errors::Problems},
    kernel::rules::MOST_DIFFERENT,
};

const KEY: &str = "intercept.netns";
const HOST: &str = "host";

pub(super) fn sources(problems: &mut Problems, texts: Option<&[String]>) -> Vec<NetnsSource> {
    let Some(texts) = texts else {
        return vec![NetnsSource::Selected];
    };
    if !texts.iter().any(|text| text == HOST) {
        problems.missing(
            KEY,
            "the daemon's own network namespace is always intercepted, and the list does not say so",
            "add \"host\"",
        );
    }
    let mut sources = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{KEY}[{index}]");
        match source(problems, &key, text) {
            Some(source) if sources.contains(&source) => {
                problems.bad(&key, text, "it is in the list already", "leave it out");
            }
            found => sources.extend(found),
        }
    }
    sources
}

/// Whether a selector's entries are fine, and what they name.
pub(super) fn selectors(
    problems: &mut Problems,
    key: &str,
    texts: &[String],
) -> Option<Vec<NetnsSelector>> {
    if texts.is_empty() {
        problems.missing(
            key,
            "an empty list names no network namespace",
            "leave the key out, or name one like \"/run/netns/blue\"",
        );
        return None;
    }
    let mut selectors = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{key}[{index}]");
        selectors.push(match text.as_str() {
            HOST => NetnsSelector::Host,
            text => NetnsSelector::Path(path(problems, &key, text)?),
        });
    }
    Some(selectors)
}

/// Warns of more namespaces than selectors can tell apart, of which that without a name is one.
pub(super) fn warn_of_too_many(problems: &mut Problems, selects: &BTreeMap<String, Select>) {
    let selectors = selects
        .values()
        .flat_map(|select| select.include.iter().chain(&select.exclude));
    let named: HashSet<&NetnsSelector> = selectors.flat_map(|one| &one.netns).collect();
    if named.len() >= MOST_DIFFERENT {
        problems.warn(
            "select",
            &format!(
                "selectors name {} network namespaces, and {} are told apart at a time: any more get the \
                 strictest rule that could be theirs",
                named.len(),
                MOST_DIFFERENT - 1
            ),
        );
    }
}

/// Where a selector finds a namespace.
fn path(problems: &mut Problems, key: &str, text: &str) -> Option<PathBuf> {
    let (reason, fix) = if text == "selected" {
        (
            "this says which namespaces are served, and names none",
            "write \"host\" or a path like \"/run/netns/blue\"",
        )
    } else if text.starts_with("cgroup:") {
        (
            "processes come to a namespace and go, and their connections would be decided before \
             anybody has seen that they are there",
            "select by the cgroup itself, with cgroup = \"/pods/*\" in the selector, which holds from \
             the first connection on; or name the namespace by the path at which it is mounted",
        )
    } else if text.starts_with("pid:") || Path::new(text).starts_with("/proc") {
        (
            "a process may go to another namespace, and its number to another process, before anybody \
             has seen it",
            "name the namespace by the path at which it is mounted, like \"/run/netns/blue\" (`ip netns \
             attach blue 1234` mounts that of a process), or select by cgroup",
        )
    } else if Path::new(text).is_absolute() {
        return Some(text.into());
    } else {
        (
            "this names no network namespace",
            "write \"host\" or a path like \"/run/netns/blue\"",
        )
    };
    problems.bad(key, text, reason, fix);
    None
}

/// Warns of namespaces that are selected and get no listeners.
pub(super) fn warn_of_unserved(
    problems: &mut Problems,
    key: &str,
    selected: &[NetnsSelector],
    served: &[NetnsSource],
) {
    let unserved = selected.iter().filter(|one| match one {
        NetnsSelector::Host => false,
        NetnsSelector::Path(path) => !served.iter().any(|source| match source {
            NetnsSource::Selected => true,
            NetnsSource::Path(at) => at == path,
            NetnsSource::Pid(_) | NetnsSource::Cgroup(_) => false,
        }),
    });
    for one in unserved {
        problems.warn(
            &format!("{key}.netns"),
            &format!("intercept.netns has neither {one} nor \"selected\": connections there get their rule's fail mode"),
        );
    }
}

fn source(problems: &mut Problems, key: &str, text: &str) -> Option<NetnsSource> {
    if text == HOST {
        return None;
    }
    if text == "selected" {
        return Some(NetnsSource::Selected);
    }
    if let Some(pid) = text.strip_prefix("pid:") {
        return match pid.parse() {
            Ok(pid) if pid > 0 => Some(NetnsSource::Pid(pid)),
            _ => {
                let reason = "this is not the number of a process";
                problems.bad(key, text, reason, "write \"pid:1234\"");
                None
            }
        };
    }
    if let Some(path) = text.strip_prefix("cgroup:") {
        return cgroups::pattern(problems, key, path).map(NetnsSource::Cgroup);
    }
    if Path::new(text).is_absolute() {
        return Some(NetnsSource::Path(text.into()));
    }
    problems.bad(
        key,
        text,
        "this names no network namespace",
        "write \"host\", \"selected\", a path like \"/run/netns/blue\", \"pid:1234\" or \
         \"cgroup:/pods\"",
    );
    None
}
