//! What one part of a file says of another: names that must exist, names that must differ.

use std::collections::BTreeSet;

use super::values;
use crate::config::{
    errors::Problems,
    shape::{closest, join},
};

/// The name of a rule, which no rule before it in `names` may have.
pub(super) fn rule_name(
    problems: &mut Problems,
    key: &str,
    name: Option<&str>,
    names: &mut BTreeSet<String>,
) -> Option<String> {
    let name_key = format!("{key}.name");
    let Some(name) = name else {
        problems.missing(
            &name_key,
            "the rule has no name; records and messages need one",
            "write name = \"…\"",
        );
        return None;
    };
    if !names.insert(name.into()) {
        problems.bad(
            &name_key,
            name,
            "another rule above has the same name, so records would not tell them apart",
            "give each rule a name of its own",
        );
    }
    values::name(problems, &name_key, name).then(|| name.into())
}

/// The selection that a rule names.
pub(super) fn select(problems: &mut Problems, key: &str, name: Option<&str>) {
    if let Some(name) = name {
        exists(problems, &format!("{key}.select"), "select", name);
    }
}

/// The identity that a rule needs.
pub(super) fn identity(problems: &mut Problems, key: &str, name: Option<&str>) -> Option<String> {
    let key = format!("{key}.identity");
    let Some(name) = name else {
        problems.missing(
            &key,
            "the rule does not say with which identity this host shows itself",
            "name one: identity = \"NAME\", with its files in [identity.NAME]",
        );
        return None;
    };
    exists(problems, &key, "identity", name);
    Some(name.into())
}

/// The proxy that a rule names.
pub(super) fn proxy(problems: &mut Problems, key: &str, name: Option<&str>) -> Option<String> {
    let key = format!("{key}.proxy");
    let Some(name) = name else {
        problems.missing(
            &key,
            "the rule does not say to which proxy connections go",
            "name one: proxy = \"NAME\", with its address in [proxy.NAME]",
        );
        return None;
    };
    exists(problems, &key, "proxy", name);
    Some(name.into())
}

/// The upstream that a rule names as its gateway.
pub(super) fn upstream(problems: &mut Problems, key: &str, name: Option<&str>) -> Option<String> {
    let key = format!("{key}.gateway");
    let Some(name) = name else {
        problems.missing(
            &key,
            "the rule does not say which gateway connects in this host's place",
            "name one: gateway = \"NAME\", with its addresses in [upstream.NAME]",
        );
        return None;
    };
    exists(problems, &key, "upstream", name);
    Some(name.into())
}

/// The upstream to which a listener sends connections.
pub(super) fn listeners_upstream(
    problems: &mut Problems,
    key: &str,
    name: Option<&str>,
) -> Option<String> {
    let key = format!("{key}.upstream");
    let Some(name) = name else {
        problems.missing(
            &key,
            "the listener does not say where connections go",
            "name one: upstream = \"NAME\", with its addresses in [upstream.NAME]",
        );
        return None;
    };
    exists(problems, &key, "upstream", name);
    Some(name.into())
}

/// One of several upstreams to which a listener sends connections.
pub(super) fn listed_upstream(problems: &mut Problems, key: &str, name: &str) {
    exists(problems, key, "upstream", name);
}

/// One of several identities.
pub(super) fn listed_identity(problems: &mut Problems, key: &str, name: &str) {
    exists(problems, key, "identity", name);
}

/// TLS with client certificates verifies nobody without a bundle.
pub(super) fn any_trust(problems: &mut Problems, key: &str, what_for: &str) {
    let mut from_trust = problems.lines.range("trust.".to_owned()..);
    if !from_trust
        .next()
        .is_some_and(|(key, _)| key.starts_with("trust."))
    {
        problems.missing(
            key,
            format!("the rule needs a trust bundle, and the file has none: {what_for}"),
            "add [trust.\"your.domain\"] with bundle = \"ca.crt\"",
        );
    }
}

fn exists(problems: &mut Problems, key: &str, table: &str, name: &str) {
    if problems.has(&join(table, name)) {
        return;
    }
    let prefix = format!("{table}.");
    let close = {
        let names = problems
            .lines
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .filter(|name| !name.contains('.'));
        closest(name, names).map(str::to_owned)
    };
    let fix = match close {
        Some(close) => format!("did you mean {close:?}?"),
        None => format!("add [{}]", join(table, name)),
    };
    problems.bad(
        key,
        name,
        format!("there is no [{}]", join(table, name)),
        fix,
    );
}
