//! Which rule comes first.

use super::*;
use crate::policy::explain::{Connecting, explain};

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

proptest! {
    #[test]
    fn the_list_of_check_the_winner_of_explain_and_the_tables_decision_agree(
        rules in prop::collection::vec(any_rule(), 1..8),
        probes in prop::collection::vec((0_u8..4, 0_u8..4, 0_u8..2, 1_u16..60), 20),
    ) {
        let mut config = config(
            rules,
            &[("a", Select { include: vec![cgroup("/a")], exclude: vec![] }),
              ("b", Select { include: vec![cgroup("/a/b")], exclude: vec![] })],
            &[],
        );
        for (index, rule) in config.outbound.iter_mut().enumerate() {
            rule.name = index.to_string();
            // A list has each rule once, and so is exact where each has one prefix.
            rule.to.truncate(1);
        }
        let tables = RuleTables::compile(&config, Scope::Selections, 1);
        for (cgroup, selected) in [("/", vec![]), ("/a", vec!["a"]), ("/a/b", vec!["a", "b"])] {
            let task = Connecting { cgroup: cgroup.into(), uid: 0, gid: 0, exe: None, netns: None };
            for (a, b, c, port) in &probes {
                let to = SocketAddr::from(([first_byte(*a), *b, 0, *c], *port));
                for protocol in Protocol::ALL {
                    let explained = explain(&config, &tables, protocol, to, &task);
                    let class = tables.selection(&super::task(cgroup, 0, 0));
                    let decided = decides_of(&tables, protocol, to, class);
                    prop_assert_eq!(explained.decision.index, decided);
                    for lost in explained.lost {
                        prop_assert!(!lost.why.contains("please report"), "{lost:?}");
                    }
                    // What is left alone stands in no list.
                    if to.ip().is_loopback() {
                        continue;
                    }
                    let first = listed(&config).into_iter().find(|rule| {
                        rule.protocols.decide(protocol)
                            && rule.to.iter().any(|net| net.contains(&to.ip()))
                            && rule.ports.iter().any(|range| range.contains(port))
                            && rule.select.as_deref().is_none_or(|one| selected.contains(&one))
                    });
                    let decided = decided.map(|index| index.to_string());
                    prop_assert_eq!(first.map(|rule| rule.name.clone()), decided);
                }
            }
        }
    }
}
