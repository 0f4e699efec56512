//! `resumption` and `groups` of `[[outbound]]`

use super::values;
use crate::config::{Group, Handshakes, Wire, errors::Problems, file};

/// How the handshakes of a rule that goes over `wire` are made.
pub(super) fn handshakes(
    problems: &mut Problems,
    key: &str,
    file: &file::Outbound,
    wire: Option<Wire>,
) -> Option<Handshakes> {
    if file.resumption.is_some() && wire == Some(Wire::Tunnel) {
        problems.missing(
            &format!("{key}.resumption"),
            "this has an effect only with wire = \"tls\": a tunnel is used again, and has no session",
            "leave it out, or write wire = \"tls\"",
        );
    }
    let groups = match &file.groups {
        None => Some(Group::ALL.to_vec()),
        Some(texts) => groups(problems, &format!("{key}.groups"), texts),
    };
    Some(Handshakes {
        groups: groups?,
        resumption: file.resumption.unwrap_or(true),
    })
}

fn groups(problems: &mut Problems, key: &str, texts: &[String]) -> Option<Vec<Group>> {
    let words = Group::ALL.map(|group| (group.label(), group));
    if texts.is_empty() {
        problems.missing(
            key,
            "without a group there is no handshake",
            "name one or more, or leave the key out",
        );
        return None;
    }
    let mut groups = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let group = values::word(problems, &key, text, &words)?;
        if groups.contains(&group) {
            problems.bad(&key, text, "it is named twice", "name it once");
            return None;
        }
        groups.push(group);
    }
    Some(groups)
}
