//! `[proxy.NAME]` and the rules that name one.

use super::*;
use crate::config::{FailMode, Proxy};

/// A rule that sends everything to the proxy `p`, which is to be added.
const RULE: &str = "[[outbound]]\nname = \"r\"\naction = \"redirect\"\nproxy = \"p\"\n";

fn with_proxy(proxy: &str) -> String {
    format!("version = 1\n{RULE}[proxy.p]\n{proxy}\n")
}

fn proxy(listen: &str) -> Proxy {
    let config = parse(&with_proxy(&format!("listen = {listen}"))).unwrap();
    assert_eq!(config.warnings, [""; 0]);
    config.proxies.get("p").unwrap().clone()
}

#[test]
fn a_proxy_has_a_port_for_each_family_that_it_listens_on() {
    let ports = |listen: &str| {
        let proxy = proxy(listen);
        (proxy.v4, proxy.v6)
    };
    assert_eq!(ports(r#"["127.0.0.1:1"]"#), (Some(1), None));
    assert_eq!(ports(r#"["[::1]:1"]"#), (None, Some(1)));
    assert_eq!(ports(r#"["0.0.0.0:1", "[::1]:2"]"#), (Some(1), Some(2)));
    assert_eq!(ports(r#"["[::]:1"]"#), (Some(1), Some(1)));
    assert_eq!(ports(r#"["[::]:1", "127.0.0.1:2"]"#), (Some(2), Some(1)));
}

#[test]
fn roots_listener_alone_is_taken_unless_a_user_is_named() {
    assert_eq!(proxy(r#"["127.0.0.1:1"]"#).user, 0);
    let nobody = with_proxy("listen = [\"127.0.0.1:1\"]\nuser = \"nobody\"");
    let config = parse(&nobody).unwrap();
    assert_ne!(config.proxies.get("p").unwrap().user, 0);
}

#[test]
fn a_proxys_cgroup_is_a_pattern() {
    let text = with_proxy("listen = [\"127.0.0.1:1\"]\ncgroup = \"/pods/*/sidecar\"");
    let config = parse(&text).unwrap();
    assert!(config.proxies.get("p").unwrap().cgroup.is_some());
    let errors = parse(&text.replace("/pods", "pods")).unwrap_err();
    assert!(errors.to_string().contains("proxy.p.cgroup"), "{errors}");
}

#[test]
fn a_rule_that_redirects_blocks_unless_it_says_otherwise() {
    let text = with_proxy("listen = [\"127.0.0.1:1\"]");
    let fail = |text: &str| parse(text).unwrap().outbound.first().unwrap().fail;
    assert_eq!(fail(&text), FailMode::Block);
    let pass = text.replace("proxy = \"p\"", "proxy = \"p\"\nfail = \"pass\"");
    assert_eq!(fail(&pass), FailMode::Pass);
}

#[test]
fn proxies_that_cannot_be_used() {
    for (proxy, at, says) in [
        ("", ".listen", "not said where"),
        ("listen = []", ".listen", "not said where"),
        (
            "listen = [\"localhost:1\"]",
            ".listen[0]",
            "not an address and a port",
        ),
        ("listen = [\"127.0.0.1:0\"]", ".listen[0]", "port 0"),
        (
            "listen = [\"127.0.0.2:1\"]",
            ".listen[0]",
            "redirected to 127.0.0.1 and ::1",
        ),
        (
            "listen = [\"10.0.0.1:1\"]",
            ".listen[0]",
            "redirected to 127.0.0.1 and ::1",
        ),
        (
            "listen = [\"127.0.0.1:1\", \"0.0.0.0:2\"]",
            ".listen[1]",
            "at most one for IPv4",
        ),
        (
            "listen = [\"127.0.0.1:1\"]\nuser = \"no such user\"",
            ".user",
            "no user of this name",
        ),
    ] {
        check(&with_proxy(proxy), &format!("proxy.p{at}"), says);
    }
}

#[test]
fn two_proxies_at_one_port_are_refused() {
    let text = with_proxy("listen = [\"[::]:1\"]") + "[proxy.q]\nlisten = [\"127.0.0.1:1\"]\n";
    check(&text, "proxy.q.listen", "\"p\" has port 1 of IPv4 as well");
}

#[test]
fn a_rule_names_a_proxy_that_is_there_and_only_to_redirect() {
    let rule = RULE.replace("proxy = \"p\"\n", "");
    check(
        &format!("version = 1\n{rule}"),
        "outbound[0] \"r\".proxy",
        "to which proxy",
    );
    check(
        &format!("version = 1\n{RULE}"),
        "outbound[0] \"r\".proxy",
        "add [proxy.p]",
    );
    let text = with_proxy("listen = [\"127.0.0.1:1\"]").replace("\"redirect\"", "\"passthrough\"");
    check(
        &text,
        "outbound[0] \"r\".proxy",
        "only with action redirect",
    );
}

#[test]
fn a_proxy_that_no_rule_names_deserves_a_word() {
    let text = "version = 1\n[proxy.p]\nlisten = [\"127.0.0.1:1\"]\n";
    let config = parse(text).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("no rule sends"));
}
