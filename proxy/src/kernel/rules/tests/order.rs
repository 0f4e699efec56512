//! Which rule comes first.

use super::*;

fn whose(rules: Vec<OutboundRule>, exclude: &[&str], protocol: Protocol, to: &str) -> Option<u32> {
    let config = config(rules, &[], exclude);
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    decides_of(&tables, protocol, to.parse().unwrap(), 0)
}

#[test]
fn loopback_link_local_and_multicast_are_left_alone_until_a_rule_names_them() {
    let all = || rule(None, &["0.0.0.0/0", "::/0"], &[1..=65535]);
    for (named, inside, beside) in [
        ("127.0.0.5/32", "127.0.0.5:80", "127.0.0.6:80"),
        ("127.0.0.0/8", "127.9.0.5:80", "169.254.0.6:80"),
        ("169.254.169.254/32", "169.254.169.254:80", "169.254.0.1:80"),
        ("fe80::/64", "[fe80::1]:80", "[fe80:0:0:1::1]:80"),
        ("224.0.0.0/4", "239.1.2.3:80", "255.255.255.255:80"),
        ("::1/128", "[::1]:80", "[::]:80"),
    ] {
        let ruled = || vec![all(), rule(None, &[named], &[80..=80])];
        let tcp = |to| whose(ruled(), &[], Protocol::Tcp, to);
        assert_eq!(tcp(inside), Some(1), "{named} is named");
        assert_eq!(tcp(beside), None, "only {named} is named");
        let typed = |to| whose(ruled(), &[named], Protocol::Tcp, to);
        assert_eq!(typed(inside), None, "{named} is excluded");
        let elsewhere = inside.replace(":80", ":81");
        assert_eq!(tcp(&elsewhere), None, "the rule for all does not name it");
    }
    assert_eq!(
        whose(
            vec![rule(None, &["126.0.0.0/7"], &[80..=80])],
            &[],
            Protocol::Tcp,
            "127.0.0.1:80"
        ),
        None,
        "a prefix that holds loopback is about more than that"
    );
}

#[test]
fn a_rule_about_udp_alone_comes_before_what_others_say_beside_their_action() {
    let beside = OutboundRule {
        protocols: Protocols {
            tcp: true,
            udp: Datagrams::Denied,
        },
        ..rule(None, &["10.0.0.0/8"], &[1..=65535])
    };
    let dns = OutboundRule {
        protocols: Protocols::UDP,
        ..rule(None, &["10.0.0.0/8"], &[53..=53])
    };
    let of = |protocol, port| {
        let to = format!("10.0.0.1:{port}");
        whose(vec![beside.clone(), dns.clone()], &[], protocol, &to)
    };
    assert_eq!(of(Protocol::Udp, 53), Some(1));
    assert_eq!(of(Protocol::Udp, 54), Some(0));
    assert_eq!(of(Protocol::Tcp, 53), Some(0));
}
