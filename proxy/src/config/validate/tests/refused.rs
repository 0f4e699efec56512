//! What is refused: the change, the key of the error, a part of its reason or fix.

use super::*;

#[test]
fn values_of_the_daemon_that_cannot_be_used() {
    for (text, key, says) in [
        (
            "daemon.instance = \"Blue/1\"",
            "daemon.instance",
            "a-z, 0-9 and '-'",
        ),
        ("daemon.drain = \"off\"", "daemon.drain", "cannot be off"),
        ("daemon.drain = \"30\"", "daemon.drain", "number and a unit"),
        ("daemon.drain = \"0s\"", "daemon.drain", "cannot be zero"),
        (
            "daemon.drain = \"900000h\"",
            "daemon.drain",
            "longer than a year",
        ),
        (
            "daemon.drain = 30",
            "daemon.drain",
            "a text in quotes is needed",
        ),
        (
            "daemon.runtime_dir = \"run\"",
            "daemon.runtime_dir",
            "absolute path",
        ),
        ("daemon.workers = 0", "daemon.workers", "from 1 to 1024"),
        (
            "limits.connections = -1",
            "limits.connections",
            "from 1 to 1000000",
        ),
        (
            "limits.connections = 99999999999999999999",
            "limits.connections",
            "too large",
        ),
        (
            "limits.keepalive = \"1500ms\"",
            "limits.keepalive",
            "whole seconds",
        ),
        (
            "log.access = \"jsn\"",
            "log.access",
            "did you mean \"json\"?",
        ),
        ("log.filter = \"a=b=c\"", "log.filter", "not a filter"),
        (
            "intercept.netns = [\"host\", \"blue\"]",
            "intercept.netns[1]",
            "names no",
        ),
        (
            "intercept.netns = [\"/run/netns/blue\"]",
            "intercept.netns",
            "always",
        ),
        (
            "intercept.netns = [\"host\", \"pid:0\"]",
            "intercept.netns[1]",
            "process",
        ),
        (
            "intercept.listeners = 0",
            "intercept.listeners",
            "from 1 to 64",
        ),
        (
            "intercept.exclude_to = [\"localhost\"]",
            "intercept.exclude_to[0]",
            "not resolved",
        ),
    ] {
        check(&format!("version = 1\n{text}\n"), key, says);
    }
}

#[test]
fn selectors_that_cannot_be_used() {
    for (selector, at, says) in [
        ("{}", "", "match every task"),
        (
            "{ cgroup = \"/pods/**\" }",
            ".cgroup",
            "at the end says nothing",
        ),
        ("{ cgroup = \"/pods/a**\" }", ".cgroup", "is no pattern"),
        ("{ cgroup = \"/pods/[a\" }", ".cgroup", "is no pattern"),
        (
            "{ cgroup = \"/1/2/3/4/5/6/**/7/8/9/*/11/12/13\" }",
            ".cgroup",
            "it is 13 levels below the cgroup2 root",
        ),
        (
            "{ cgroup = \"pods\" }",
            ".cgroup",
            "does not begin with '/'",
        ),
        ("{ cgroup = \"/a/../b\" }", ".cgroup", "'..'"),
        (
            "{ cgroup = \"/1/2/3/4/5/6/7/8/9/10/11/12/13\" }",
            ".cgroup",
            "it is 13 levels below the cgroup2 root",
        ),
        (
            "{ unit = \"1-2-3-4-5-6-7-8-9-10-11-12-13.slice\" }",
            ".unit",
            "it is 13 levels below the cgroup2 root",
        ),
        (
            "{ cgroup = \"/sys/fs/cgroup/pods\" }",
            ".cgroup",
            "leave /sys/fs/cgroup away",
        ),
        (
            "{ cgroup = \"/a\", unit = \"b.service\" }",
            "",
            "keep one of them",
        ),
        ("{ uid = 1, user = \"root\" }", "", "keep one of them"),
        (
            "{ container = \"a\", cgroup = \"/a\" }",
            "",
            "keep one of them",
        ),
        ("{ container = \"a/b\" }", ".container", "no container"),
        ("{ uid = -1 }", ".uid", "no user has this id"),
        ("{ exe = \"java\" }", ".exe", "does not begin at the root"),
        ("{ exe = \"/usr/../java\" }", ".exe", "is no name of a file"),
        ("{ gid = 4294967295 }", ".gid", "no group has this id"),
        ("{ gid = 1, group = \"root\" }", "", "keep one of them"),
        ("{ netns = [] }", ".netns", "names no network namespace"),
        (
            "{ netns = [\"host\", \"selected\"] }",
            ".netns[1]",
            "and names none",
        ),
        (
            "{ netns = [\"cgroup:/pods/*\"] }",
            ".netns[0]",
            "with cgroup = \"/pods/*\" in the selector",
        ),
        (
            "{ netns = [\"host\", \"pid:1234\"] }",
            ".netns[1]",
            "the path at which it is mounted",
        ),
        (
            "{ netns = [\"/proc/1234/ns/net\"] }",
            ".netns[0]",
            "the path at which it is mounted",
        ),
        (
            "{ netns = [\"blue\"] }",
            ".netns[0]",
            "names no network namespace",
        ),
        (
            "{ group = \"no such group\" }",
            ".group",
            "no group of this name",
        ),
        (
            "{ comm = \"curl\" }",
            ".comm",
            "any other can take the same name",
        ),
        (
            "{ user = \"no such user\" }",
            ".user",
            "no user of this name",
        ),
        ("{ unit = \"web\" }", ".unit", "ends with its type"),
        (
            "{ unit = \"web.timer\" }",
            ".unit",
            "no cgroup of their own",
        ),
        ("{ unit = \"a b.service\" }", ".unit", "plain name"),
        ("{ unit = \"web@.service\" }", ".unit", "a template"),
        ("{ unit = \"a@b.slice\" }", ".unit", "no unit can"),
        ("{ unit = \"a--b.slice\" }", ".unit", "no slice"),
        (
            "{ unti = \"web.service\" }",
            ".unti",
            "did you mean \"unit\"?",
        ),
    ] {
        let text = format!("version = 1\n[select.x]\ninclude = [{selector}]\n");
        check(&text, &format!("select.x.include[0]{at}"), says);
    }
    let outside = "version = 1\nintercept.cgroup = \"/pods\"\n\
                   select.x.include = [{ cgroup = \"/podsy\" }]\n";
    check(outside, "select.x.include[0]", "outside intercept.cgroup");
    let outside = outside.replace("/podsy", "/other/*");
    check(&outside, "select.x.include[0]", "outside intercept.cgroup");
    check(
        "version = 1\nintercept.cgroup = \"/pods/*\"\n",
        "intercept.cgroup",
        "one cgroup",
    );
    for asks in ["gid = 1", "exe = \"/bin/sh\""] {
        let text = format!(
            "version = 1\nselect.x.include = [{{ {asks} }}]\n\
             [[inbound]]\nname = \"in\"\nselect = \"x\"\nports = [80]\naccept = [\"plain\"]\n"
        );
        check(&text, "inbound[0] \"in\".select", "asks for a group");
    }
    check(
        "version = 1\nselect.x.exclude = [{ netns = [\"host\"] }]\nselect.x.include = [{ uid = 1 }]\n\
         [[inbound]]\nname = \"in\"\nselect = \"x\"\nports = [80]\naccept = [\"plain\"]\n",
        "inbound[0] \"in\".select",
        "of the daemon's own namespace",
    );
    check(
        "version = 1\n[select.x]\n",
        "select.x.include",
        "selects nothing",
    );
}

#[test]
fn a_later_version_of_the_format_is_the_only_error() {
    check(
        "version = 2\nnew_key = 1\n",
        "version",
        "reads only version 1",
    );
    check("", "version", "which version");
    check("version = \"1\"", "version", "a whole number is needed");
}

#[test]
fn keys_of_later_versions_are_not_called_unknown() {
    let text = format!(
        "{BASE}[[outbound]]\nname = \"a\"\naction = \"ignore\"\ninspect = {{}}\n\
         [gateway]\nlisten = \"0.0.0.0:15443\"\nidentity = \"web\"\n\
         [[egress]]\nidentity = [\"any\"]\naction = \"allow\"\nnames = []\naddress = \"resolve\"\n"
    );
    let errors = errors(&text);
    let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
    let expected = [
        "outbound[0] \"a\".inspect",
        "egress[0].names",
        "egress[0].address",
    ];
    assert_eq!(keys, expected);
    assert!(
        errors
            .iter()
            .all(|error| error.reason.contains("a later one brings it"))
    );
}

#[test]
fn every_error_is_reported_at_once_with_its_line() {
    let text = "version = 1\n[daemon]\ndrian = \"30s\"\nworkers = \"2\"\n[limits]\nidle = \"x\"\n\
                [[outbound]]\nname = \"a\"\naction = \"mtls\"\nidentity = \"nobody\"\nfial = 1\n";
    let found: Vec<_> = errors(text)
        .into_iter()
        .map(|error| (error.line.unwrap(), error.key))
        .collect();
    let expected = [
        (3, "daemon.drian"),
        (4, "daemon.workers"),
        (6, "limits.idle"),
        (7, "outbound[0] \"a\""),
        (7, "outbound[0] \"a\".expect"),
        (10, "outbound[0] \"a\".identity"),
        (11, "outbound[0] \"a\".fial"),
    ];
    assert_eq!(found, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let error = parse("version = 1\n[daemon\n").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let missing = Config::load(Path::new("/nonexistent/x.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("/nonexistent/x.toml") && missing.contains("--config"),
        "{missing}"
    );
}
