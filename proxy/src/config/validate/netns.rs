//! `intercept.netns`, and the `netns` of selectors.

use std::path::Path;

use super::cgroups;
use crate::config::{NetnsSelector, NetnsSource, errors::Problems};

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
            "selected" => {
                problems.bad(
                    &key,
                    text,
                    "this says which namespaces are served, and names none",
                    "write \"host\", a path, \"pid:1234\" or \"cgroup:/pods\"",
                );
                return None;
            }
            text => NetnsSelector::At(source(problems, &key, text)?),
        });
    }
    Some(selectors)
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
        NetnsSelector::At(source) => {
            !served.contains(source) && !served.contains(&NetnsSource::Selected)
        }
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
