//! What is refused: the change, the key of the error, a part of its reason or fix.

use super::*;

/// The one error that a text gives.
fn error(text: &str) -> ConfigError {
    let mut errors = errors(text);
    assert_eq!(errors.len(), 1, "{text}\n{errors:#?}");
    errors.remove(0)
}

fn check(text: &str, key: &str, says: &str) {
    let error = error(text);
    assert_eq!(error.key, key, "{text}");
    let message = error.to_string();
    assert!(message.contains(says), "{message}\nlacks: {says}");
}

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
        ("intercept.netns = [\"blue\"]", "intercept.netns[0]", "yet"),
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
            "{ cgroup = \"/pods/*\" }",
            ".cgroup",
            "no patterns in cgroup paths yet",
        ),
        (
            "{ cgroup = \"pods\" }",
            ".cgroup",
            "does not begin with '/'",
        ),
        ("{ cgroup = \"/a/../b\" }", ".cgroup", "'..'"),
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
        ("{ uid = -1 }", ".uid", "no user has this id"),
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
        ("{ unit = \"a\\\\x2db.service\" }", ".unit", "plain name"),
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
    check(
        "version = 1\n[select.x]\n",
        "select.x.include",
        "selects nothing",
    );
}

#[test]
fn outbound_rules_that_cannot_be_used() {
    let spiffe = "expect = [\"spiffe://example.org/api\"]";
    for (from, to, at, says) in [
        ("name = \"api\"\n", "", "outbound[0].name", "has no name"),
        ("\"web\"", "\"wbe\"", ".identity", "did you mean \"web\"?"),
        (
            "identity = \"web\"\n",
            "",
            ".identity",
            "does not say with which identity",
        ),
        (spiffe, "", ".expect", "must say whom it expects"),
        (spiffe, "expect = []", ".expect", "must say whom it expects"),
        (
            "//example.org",
            "//other.org",
            ".expect[0]",
            "add [trust.\"other.org\"]",
        ),
        (
            "spiffe://example.org/api",
            "10.0.0.1",
            ".expect[0]",
            "ip-san",
        ),
        (
            "action = \"mtls\"",
            "",
            ".action",
            "does not say what happens",
        ),
        (
            "action = \"mtls\"",
            "action = \"mlts\"",
            ".action",
            "did you mean \"mtls\"?",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\nfail = \"pass\"",
            ".fail",
            "plain text",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\nwire = \"quic\"",
            ".wire",
            "\"tunnel\", \"tls\"",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\nerrno = \"EPERM\"",
            ".errno",
            "with action deny",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\nselect = \"db\"",
            ".select",
            "no [select.db]",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\nserver_name = \"1.2.3.4\"",
            ".server_name",
            "not a DNS name",
        ),
        (
            "10.1.0.0/16",
            "10.1.2.3/16",
            ".to[0]",
            "\"10.1.0.0/16\" for the network, or \"10.1.2.3/32\"",
        ),
        (
            "10.1.0.0/16",
            "10.1.0.0/33",
            ".to[0]",
            "neither a prefix nor an address",
        ),
        ("\"8080\"", "0", ".ports[0]", "not a port"),
        ("\"8080\"", "\"+80\"", ".ports[0]", "not a port"),
        ("\"8080\"", "\"65536\"", ".ports[0]", "1 to 65535"),
        ("\"8080\"", "\"90-80\"", ".ports[0]", "write \"80-90\""),
        (
            "\"8080\"",
            "true",
            ".ports[0]",
            "a text in quotes or a whole number is needed",
        ),
    ] {
        let key = match at.starts_with('.') {
            true => format!("outbound[0] \"api\"{at}"),
            false => at.into(),
        };
        let changed = OUTBOUND.replace(from, to);
        assert_ne!(changed, OUTBOUND, "{from}");
        check(&format!("{BASE}{changed}"), &key, says);
    }
    let deny = "[[outbound]]\nname = \"d\"\naction = \"deny\"\n";
    for (line, at, says) in [
        ("errno = \"EINPROGRESS\"", "errno", "one of \"EPERM\""),
        (
            "fail = \"pass\"",
            "fail",
            "only with action mtls or passthrough",
        ),
        ("expect = [\"any\"]", "expect", "only with action mtls"),
    ] {
        check(
            &format!("{BASE}{deny}{line}\n"),
            &format!("outbound[0] \"d\".{at}"),
            says,
        );
    }
}

#[test]
fn two_outbound_rules_that_decide_the_same_are_both_named() {
    let same = "[[outbound]]\nname = \"other\"\naction = \"ignore\"\nto = [\"10.1.0.0/16\"]\n";
    let text = format!("{BASE}{OUTBOUND}{same}");
    check(
        &text,
        "outbound[1] \"other\"",
        "\"api\" and \"other\" both decide 10.1.0.0/16 port 8080",
    );
    parse(&format!("{text}select = \"web\"\n")).unwrap();
    parse(&format!("{text}ports = [\"9000\"]\n")).unwrap();
    parse(&text.replace("to = [\"10.1.0.0/16\"]\n\"", "to = [\"10.1.0.0/24\"]\n")).unwrap_err();
    let twice = format!("{BASE}{OUTBOUND}{}", OUTBOUND.replace("8080", "8081"));
    check(&twice, "outbound[1] \"api\".name", "same name");
}

#[test]
fn inbound_rules_that_cannot_be_used() {
    let accept = "accept = [\"tunnel\"]";
    let claim = |net: &str| {
        format!(
            "accept = [\"tunnel\"]\nmay_claim = {{ \"spiffe://example.org/front\" = [\"{net}\"] }}"
        )
    };
    let claims = [
        claim("127.0.0.0/16"),
        claim("0.0.0.0/0"),
        claim("ff02::/16"),
    ];
    for (from, to, at, says) in [
        ("ports = [\"8080\"]\n", "", "ports", "names none"),
        (
            "[\"8080\"]",
            "[\"20-30\"]",
            "ports",
            "name it by itself too: \"22\"",
        ),
        (accept, "", "accept", "does not say what may come"),
        (accept, "accept = []", "accept", "nothing could connect"),
        (accept, "accept = [\"tls\"]", "accept[0]", "\"mtls\""),
        (
            "identity = \"web\"\n",
            "",
            "identity",
            "does not say with which identity",
        ),
        (
            "allow = [\"spiffe://example.org/front\"]\n",
            "",
            "allow",
            "who may connect",
        ),
        (
            "//example.org",
            "//x.org",
            "allow[0]",
            "add [trust.\"x.org\"]",
        ),
        (
            accept,
            "accept = [\"tunnel\"]\nsource = \"transparent\"",
            "source",
            "yet",
        ),
        (
            accept,
            "accept = [\"tunnel\"]\nsource = \"none\"",
            "source",
            "look local",
        ),
        (
            accept,
            "accept = [\"tunnel\"]\nsource = \"proxy\"",
            "source",
            "did you mean",
        ),
        (
            accept,
            "accept = [\"tunnel\"]\ndetect = \"1s\"",
            "detect",
            "nothing is to be detected",
        ),
        (
            accept,
            &claims[0],
            "may_claim.\"spiffe://example.org/front\"",
            "loopback",
        ),
        (
            accept,
            &claims[1],
            "may_claim.\"spiffe://example.org/front\"",
            "loopback",
        ),
        (
            accept,
            &claims[2],
            "may_claim.\"spiffe://example.org/front\"",
            "multicast",
        ),
        (
            accept,
            &claim("10.0.0.0/8").replace("[\"tunnel\"]", "[\"mtls\"]"),
            "may_claim",
            "only in tunnels",
        ),
    ] {
        let changed = INBOUND.replace(from, to);
        assert_ne!(changed, INBOUND, "{from}");
        check(
            &format!("{BASE}{changed}"),
            &format!("inbound[0] \"in\".{at}"),
            says,
        );
    }
}

#[test]
fn a_plain_rule_that_reads_as_if_it_protected_something_is_refused() {
    let plain = INBOUND.replace("tunnel", "plain");
    let text = format!("{BASE}{plain}plain_from = [\"10.0.0.1\"]\n");
    let keys: Vec<_> = errors(&text).into_iter().map(|error| error.key).collect();
    assert_eq!(
        keys,
        [
            "inbound[0] \"in\".identity",
            "inbound[0] \"in\".allow",
            "inbound[0] \"in\".plain_from"
        ]
    );
}

#[test]
fn a_port_in_two_inbound_rules_names_both() {
    let other = INBOUND
        .replace("\"in\"", "\"two\"")
        .replace("8080", "8000-9000");
    let text = format!("{BASE}{INBOUND}{other}");
    check(
        &text,
        "inbound[1] \"two\".ports",
        "\"in\" and \"two\" both name port 8080",
    );
}

#[test]
fn mutual_tls_without_any_trust_bundle_is_refused() {
    let base = BASE.replace("trust.\"example.org\" = { bundle = \"ca.crt\" }", "");
    let rule = OUTBOUND.replace("spiffe://example.org/api", "api.example.org");
    check(
        &format!("{base}{rule}"),
        "outbound[0] \"api\"",
        "trust bundle",
    );
    let rule = INBOUND.replace("spiffe://example.org/front", "front.example.org");
    check(
        &format!("{base}{rule}"),
        "inbound[0] \"in\"",
        "trust bundle",
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
        "{BASE}[upstream.edge]\naddresses = []\n[[listener]]\nname = \"x\"\n[gateway]\n[[egress]]\n\
         [[outbound]]\nname = \"a\"\naction = \"gateway\"\ngateway = \"edge\"\ninspect = {{}}\n"
    );
    let errors = errors(&text);
    let keys: Vec<_> = errors.iter().map(|error| error.key.as_str()).collect();
    let expected = [
        "upstream",
        "listener",
        "gateway",
        "egress",
        "outbound[0] \"a\".action",
        "outbound[0] \"a\".gateway",
        "outbound[0] \"a\".inspect",
    ];
    assert_eq!(keys, expected);
    assert!(
        errors
            .iter()
            .all(|error| error.reason.contains("a later one brings it"))
    );
    let redirect = format!("{BASE}[[outbound]]\nname = \"a\"\naction = \"redirect\"\n");
    check(
        &redirect,
        "outbound[0] \"a\".action",
        "a later one brings it",
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
