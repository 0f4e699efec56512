use std::time::SystemTime;

use super::*;

const API: &str = "spiffe://example.org/api";
const BATCH: &str = "spiffe://example.org/batch";

fn rule(
    name: &str,
    identity: &str,
    to: &str,
    ports: RangeInclusive<u16>,
    allow: bool,
) -> EgressRule {
    EgressRule {
        name: name.into(),
        identity: vec![identity.parse().unwrap()],
        to: vec![to.parse().unwrap()],
        ports: vec![ports],
        allow,
        may_claim: BTreeMap::new(),
    }
}

/// The rule and what became of it.
fn judged(id: &str, source: &str, to: &str) -> (Option<String>, Result<(), Reason>) {
    let judged = judge(id, source, to);
    (
        judged.rule.map(|rule| rule.to_string()),
        judged.outcome.map(|_| ()).map_err(|refusal| refusal.reason),
    )
}

fn judge(id: &str, source: &str, to: &str) -> Judged {
    let rules = EgressRules(vec![
        rule("not-this-one", "any", "203.0.113.9/32", 1..=65535, false),
        EgressRule {
            may_claim: [(API.parse().unwrap(), vec!["10.2.0.0/16".parse().unwrap()])].into(),
            ..rule("web", API, "203.0.113.0/24", 443..=443, true)
        },
        // More than anybody should write: what is never reached is not either way.
        rule("all", API, "0.0.0.0/0", 8000..=9000, true),
        rule("all-v6", API, "::/0", 8000..=9000, true),
    ]);
    let peer = PeerIdentity {
        spiffe: Some(id.parse().unwrap()),
        dns: vec![],
        ips: vec![],
        common_name: None,
        not_after: SystemTime::UNIX_EPOCH,
    };
    let open = (
        ClientAddr::new(source.parse().unwrap()),
        OriginalDst::new(to.parse().unwrap()),
    );
    let from = "10.0.0.1:40000".parse().unwrap();
    let own = |ip: IpAddr| ["10.0.0.9", "10.2.0.9"].contains(&&*ip.to_string());
    rules.judge(&peer, from, open, own)
}

#[test]
fn the_first_rule_for_identity_destination_and_port_decides() {
    let source = "10.0.0.1:5";
    let denied = Err(Reason::EgressDenied);
    let named = |name: &str| Some(name.to_owned());
    for (id, to, rule, outcome) in [
        (API, "203.0.113.7:443", named("web"), Ok(())),
        (API, "203.0.113.9:443", named("not-this-one"), denied),
        (BATCH, "203.0.113.9:443", named("not-this-one"), denied),
        (BATCH, "203.0.113.7:443", None, denied),
        (API, "203.0.113.7:80", None, denied),
        (API, "203.0.113.7:8080", named("all"), Ok(())),
        (API, "[2001:db8::1]:8080", named("all-v6"), Ok(())),
        (API, "[2001:db8::1]:443", None, denied),
    ] {
        assert_eq!(judged(id, source, to), (rule, outcome), "{id} to {to}");
    }
}

#[test]
fn the_gateways_own_host_is_not_behind_it() {
    for to in [
        "127.0.0.1:8080",
        "10.0.0.9:8080",
        "0.0.0.0:8080",
        "0.1.2.3:8080",
        "169.254.169.254:8080",
        "224.0.0.1:8080",
        "255.255.255.255:8080",
        "[::]:8080",
        "[::1]:8080",
        "[fe80::1]:8080",
        "[ff02::1]:8080",
        "[::ffff:127.0.0.1]:8080",
        "[::ffff:10.0.0.9]:8080",
        "[fd00:ec2::254]:8080",
        "100.100.100.200:8080",
        "[64:ff9b::a9fe:a9fe]:8080",
    ] {
        assert_eq!(
            judged(API, "10.0.0.1:5", to).1,
            Err(Reason::EgressDenied),
            "{to}"
        );
    }
}

#[test]
fn a_claim_that_is_not_granted_or_is_of_the_gateway_stands_in_no_permit() {
    for (source, client) in [
        ("10.0.0.1:5", "10.0.0.1:5"),
        ("10.2.0.2:5", "10.2.0.2:5"),
        ("10.2.0.9:5", "10.0.0.1:40000"),
        ("10.0.0.2:5", "10.0.0.1:40000"),
        ("127.0.0.1:5", "10.0.0.1:40000"),
        ("10.0.0.9:5", "10.0.0.1:40000"),
        ("10.0.0.1:0", "10.0.0.1:40000"),
    ] {
        let judged = judge(API, source, "203.0.113.7:443");
        let permit = judged.outcome.unwrap();
        assert_eq!(permit.client().get().to_string(), client, "{source}");
    }
}
