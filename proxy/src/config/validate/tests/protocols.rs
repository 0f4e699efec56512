//! `protocol`, `udp` and `exclude_to`.

use super::*;
use crate::config::{Datagrams, Protocols};

fn protocols(text: &str) -> Protocols {
    config(text).outbound.first().unwrap().protocols
}

fn plain(action: &str, more: &str) -> Protocols {
    protocols(&format!(
        "[[outbound]]\nname = \"a\"\naction = {action:?}\n{more}\n"
    ))
}

#[test]
fn what_forbids_or_leaves_alone_is_about_every_protocol_and_what_carries_about_tcp() {
    assert_eq!(plain("deny", ""), Protocols::ANY);
    assert_eq!(plain("ignore", ""), Protocols::ANY);
    assert_eq!(plain("passthrough", ""), Protocols::TCP);
    assert_eq!(plain("deny", "protocol = \"tcp\""), Protocols::TCP);
    assert_eq!(plain("passthrough", "protocol = \"udp\""), Protocols::UDP);
    assert_eq!(plain("passthrough", "protocol = \"any\""), Protocols::ANY);
}

#[test]
fn mtls_denies_udp_beside_it_until_it_is_told_to_let_it_pass() {
    let beside = |udp| Protocols { tcp: true, udp };
    assert_eq!(protocols(OUTBOUND), beside(Datagrams::Denied));
    let with = |line: &str| protocols(&format!("{OUTBOUND}{line}\n"));
    assert_eq!(with("udp = \"deny\""), beside(Datagrams::Denied));
    assert_eq!(with("udp = \"pass\""), beside(Datagrams::Passed));
    assert_eq!(with("protocol = \"tcp\""), beside(Datagrams::Denied));
}

#[test]
fn an_mtls_rule_that_would_deny_the_dns_mentions_it() {
    let mentions = |text: &str| {
        let warnings = config(text).warnings;
        warnings.iter().any(|warning| warning.contains("DNS"))
    };
    let every_port = OUTBOUND.replace("ports = [\"8080\"]\n", "");
    assert!(mentions(&every_port));
    assert!(!mentions(OUTBOUND));
    for typed in ["deny", "pass"] {
        assert!(!mentions(&format!("{every_port}udp = {typed:?}\n")));
    }
}

#[test]
fn no_action_that_carries_connections_takes_datagrams() {
    for protocol in ["udp", "any"] {
        let text = format!("{BASE}{OUTBOUND}protocol = {protocol:?}\n");
        check(
            &text,
            "outbound[0] \"api\".protocol",
            "about TCP connections",
        );
    }
    let deny = "[[outbound]]\nname = \"d\"\naction = \"deny\"\nudp = \"deny\"\n";
    check(
        &format!("{BASE}{deny}"),
        "outbound[0] \"d\".udp",
        "only with action mtls, gateway or redirect",
    );
}

#[test]
fn a_rule_about_udp_may_stand_beside_one_about_tcp_and_comes_before_what_that_says_of_udp() {
    let udp = "[[outbound]]\nname = \"dns\"\nto = [\"10.1.0.0/16\"]\nports = [\"8080\"]\n\
               action = \"passthrough\"\nprotocol = \"udp\"\n";
    assert_eq!(config(&format!("{OUTBOUND}{udp}")).outbound.len(), 2);
    let both = udp.replace("\"udp\"", "\"any\"");
    check(
        &format!("{BASE}{OUTBOUND}{both}"),
        "outbound[1] \"dns\"",
        "both decide 10.1.0.0/16 port 8080",
    );
}

#[test]
fn a_rule_that_exclude_to_leaves_without_a_destination_is_mentioned() {
    let mentions = |exclude: &str| {
        let exclude = format!("[intercept]\nexclude_to = [{exclude:?}]\n");
        let warnings = config(&format!("{exclude}{OUTBOUND}")).warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("never decides"))
    };
    assert!(mentions("10.1.0.0/16") && mentions("10.0.0.0/8"));
    assert!(!mentions("10.1.2.0/24"));
}
