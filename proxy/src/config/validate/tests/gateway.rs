//! `[upstream.NAME]`, `[gateway]`, `[[egress]]` and the rules that name a gateway.

use super::*;

const FILES: &str = r#"
[identity.own]
certificate = "own.crt"
private_key = "own.key"
[trust."example.org"]
bundle = "ca.crt"
"#;
const RULE: &str = r#"
[[outbound]]
name = "r"
ports = ["443"]
action = "gateway"
gateway = "edge"
identity = "own"
udp = "deny"
"#;
const UPSTREAM: &str = r#"
[upstream.edge]
addresses = ["10.0.0.9:15443", "[2001:db8::9]:15443"]
expect = ["spiffe://example.org/egress"]
"#;
const GATEWAY: &str = "[gateway]\nlisten = \"[::]:15443\"\nidentity = \"own\"\n";
const EGRESS: &str = "[[egress]]\nidentity = [\"spiffe://example.org/api\"]\naction = \"allow\"\n";

fn file(parts: &[&str]) -> String {
    format!("version = 1\n{FILES}{}", parts.concat())
}

#[test]
fn a_rule_names_its_gateway_and_a_gateway_says_who_may_reach_what() {
    let config = parse(&file(&[RULE, UPSTREAM, GATEWAY, EGRESS])).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert!(matches!(
        &config.outbound[0].action,
        OutboundAction::Gateway { upstream, identity } if upstream == "edge" && identity == "own"
    ));
    assert_eq!(config.upstreams["edge"].addresses.len(), 2);
    let gateway = config.gateway.unwrap();
    assert_eq!(gateway.egress[0].name, "egress-1");
    assert_eq!(gateway.egress[0].to.len(), 2, "both families");
    assert!(gateway.egress[0].allow);
    let claim = "may_claim = { \"spiffe://example.org/api\" = [\"10.2.0.0/16\"] }\n";
    let config = parse(&file(&[GATEWAY, EGRESS, claim])).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.gateway.unwrap().egress[0].may_claim.len(), 1);
    let of_another = claim.replace("/api", "/other");
    let config = parse(&file(&[GATEWAY, EGRESS, &of_another])).unwrap();
    assert!(config.warnings[0].contains("not in identity"));
}

#[test]
fn gateways_that_cannot_be_used() {
    let inbound = "[[inbound]]\nname = \"in\"\nports = [\"15443\"]\naccept = [\"plain\"]\n";
    let pass = format!("{RULE}fail = \"pass\"\n");
    let without = |text: &str, line: &str| text.replace(line, "");
    for (parts, key, says) in [
        (
            vec![RULE],
            "outbound[0] \"r\".gateway",
            "there is no [upstream.edge]",
        ),
        (
            vec![&without(RULE, "gateway = \"edge\"\n")],
            "outbound[0] \"r\".gateway",
            "does not say which gateway",
        ),
        (
            vec![&without(RULE, "identity = \"own\"\n"), UPSTREAM],
            "outbound[0] \"r\".identity",
            "with which identity",
        ),
        (
            vec![&pass, UPSTREAM],
            "outbound[0] \"r\".fail",
            "in plain text",
        ),
        (
            vec![
                RULE,
                &UPSTREAM.replace("10.0.0.9:15443", "edge.example:15443"),
            ],
            "upstream.edge.addresses[0]",
            "a gateway's name is not resolved",
        ),
        (
            vec![RULE, &UPSTREAM.replace("10.0.0.9", "0.0.0.0")],
            "upstream.edge.addresses[0]",
            "nobody can be reached",
        ),
        (
            vec![
                RULE,
                &without(UPSTREAM, "expect = [\"spiffe://example.org/egress\"]\n"),
            ],
            "upstream.edge.expect",
            "must say whom it expects",
        ),
        (vec![GATEWAY], "gateway", "no [[egress]] rule"),
        (vec![EGRESS], "egress", "is no gateway"),
        (
            vec![inbound, GATEWAY, EGRESS],
            "gateway.listen",
            "takes this port",
        ),
        (
            vec![GATEWAY, &without(EGRESS, "action = \"allow\"\n")],
            "egress[0].action",
            "does not say what happens",
        ),
        (
            vec![
                GATEWAY,
                &EGRESS.replace("allow", "deny"),
                "may_claim = { \"spiffe://example.org/api\" = [\"10.2.0.0/16\"] }\n",
            ],
            "egress[0].may_claim",
            "with the address that the gateway sees",
        ),
        (
            vec![
                GATEWAY,
                EGRESS,
                "may_claim = { \"spiffe://example.org/api\" = [\"127.0.0.0/8\"] }\n",
            ],
            "egress[0].may_claim",
            "no remote client has",
        ),
        (
            vec![GATEWAY, EGRESS, "names = [\"www.example\"]\n"],
            "egress[0].names",
            "a later one brings it",
        ),
    ] {
        let errors = parse(&file(&parts)).unwrap_err().to_string();
        assert!(
            errors.contains(key) && errors.contains(says),
            "{key}: {says}\n{errors}"
        );
    }
}
