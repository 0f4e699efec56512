//! Rules that are refused: the change, the key of the error, a part of its reason or fix.

use super::*;

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
            "action = \"mtls\"",
            "action = \"mtls\"\nresumption = false",
            ".resumption",
            "only with wire = \"tls\"",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\ngroups = []",
            ".groups",
            "no handshake",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\ngroups = [\"X25519\", \"x448\"]",
            ".groups[1]",
            "\"secp256r1\", \"secp384r1\"",
        ),
        (
            "action = \"mtls\"",
            "action = \"mtls\"\ngroups = [\"X25519\", \"X25519\"]",
            ".groups[1]",
            "twice",
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
            "only with action mtls, gateway, passthrough or redirect",
        ),
        ("expect = [\"any\"]", "expect", "only with action mtls"),
        ("resumption = true", "resumption", "only with action mtls"),
        ("groups = [\"X25519\"]", "groups", "only with action mtls"),
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
fn errors_between_rules_are_reported_beside_errors_within_them() {
    let broken = INBOUND.replace("identity = \"web\"\n", "");
    let text = format!("{BASE}{broken}{}", INBOUND.replace("\"in\"", "\"two\""));
    let keys: Vec<_> = errors(&text).into_iter().map(|error| error.key).collect();
    assert_eq!(
        keys,
        ["inbound[0] \"in\".identity", "inbound[1] \"two\".ports"]
    );
}

#[test]
fn an_inbound_rule_holds_in_other_namespaces_only_if_it_says_so() {
    let rule = |netns: &str| {
        parse(&format!(
            "version = 1\n[[inbound]]\nname = \"in\"\nports = [80]\naccept = [\"plain\"]\n{netns}\n"
        ))
    };
    let holds = |netns: &str| rule(netns).unwrap().receives_in_namespaces();
    assert!(!holds("") && !holds("netns = \"host\""));
    assert!(holds("netns = \"served\""));
    let never = |netns: &str| !rule(netns).unwrap().warnings.is_empty();
    let host = "[intercept]\nnetns = [\"host\"]";
    assert!(never(&format!("netns = \"served\"\n{host}")));
    assert!(!never("netns = \"served\"") && !never(host));
    let errors = rule("netns = \"all\"").unwrap_err().to_string();
    assert!(errors.contains("netns"), "{errors}");
}
