use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use proptest::prelude::*;
use sidetrack_abi::rules::ACTION_REDIRECT;

use super::{compile::naive, *};
use crate::config::{
    CgroupPattern, Daemon, Datagrams, Existing, FailMode, Instance, Intercept, Limits, Log,
    OutboundAction, OutboundRule, Protocols, Proxy, RecordFormat, Select, Selector,
};

fn config(outbound: Vec<OutboundRule>, selects: &[(&str, Select)], exclude: &[&str]) -> Config {
    Config {
        path: PathBuf::new(),
        daemon: Daemon {
            heartbeat: Duration::from_secs(3),
            instance: Instance("test".into()),
            drain: Duration::ZERO,
            runtime_dir: PathBuf::new(),
            workers: None,
        },
        limits: Limits {
            connections: 1,
            handshakes: 1,
            connect_timeout: Duration::ZERO,
            handshake_timeout: Duration::ZERO,
            idle: None,
            keepalive: Duration::ZERO,
            user_timeout: Duration::ZERO,
            idle_tunnels_per_peer: 1,
            idle_tunnels: 1,
            tunnel_idle: Duration::ZERO,
            tunnel_age: Duration::ZERO,
        },
        log: Log {
            access: RecordFormat::Off,
            access_file: None,
            format: RecordFormat::Text,
            filter: String::new(),
        },
        identities: Default::default(),
        upstreams: Default::default(),
        intercepts: true,
        listeners: Vec::new(),
        gateway: None,
        trust: Default::default(),
        selects: selects
            .iter()
            .map(|(name, s)| ((*name).to_owned(), s.clone()))
            .collect(),
        intercept: Intercept {
            netns: Vec::new(),
            existing: Existing::Leave,
            cgroup: "/".into(),
            exclude_to: exclude.iter().map(|net| net.parse().unwrap()).collect(),
            listeners: 1,
        },
        proxies: Default::default(),
        outbound,
        inbound: Vec::new(),
        warnings: Vec::new(),
    }
}

fn rule(
    select: Option<&str>,
    to: &[&str],
    ports: &[std::ops::RangeInclusive<u16>],
) -> OutboundRule {
    OutboundRule {
        name: String::new(),
        select: select.map(str::to_owned),
        to: to.iter().map(|net| net.parse().unwrap()).collect(),
        ports: ports.to_vec(),
        protocols: Protocols::TCP,
        action: OutboundAction::Passthrough,
        fail: FailMode::Block,
    }
}

#[test]
fn a_rule_names_its_proxy_by_the_place_of_that_among_all() {
    let proxy = |port| Proxy {
        v4: Some(port),
        v6: None,
        user: 0,
        cgroup: None,
    };
    let mut to_z = rule(None, &["10.0.0.0/8"], &[1..=u16::MAX]);
    to_z.action = OutboundAction::Redirect { proxy: "z".into() };
    let mut config = config(vec![to_z], &[], &[]);
    config.proxies = [("a".to_owned(), proxy(1)), ("z".to_owned(), proxy(2))].into();
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let destination = OriginalDst::new("10.0.0.1:80".parse().unwrap());
    let Verdict::Redirect(rule) = tables.decide(Protocol::Tcp, destination, 0) else {
        panic!("it is to be redirected");
    };
    assert_eq!(rule.action, ACTION_REDIRECT);
    let named = tables.proxies.get(usize::from(rule.operand)).unwrap();
    assert_eq!(named.name, "z");
}

/// One rule, for the cgroups that these patterns select.
pub(in crate::kernel) fn rules_for_cgroups(patterns: &[&str]) -> RuleTables {
    let select = Select {
        include: patterns.iter().map(|pattern| cgroup(pattern)).collect(),
        exclude: vec![],
    };
    let only = rule(Some("only"), &["10.0.0.0/8"], &[80..=80]);
    let config = config(vec![only], &[("only", select)], &[]);
    RuleTables::compile(&config, Scope::Selections, 1)
}

fn cgroup(pattern: &str) -> Selector {
    Selector {
        cgroup: Some(CgroupPattern::parse(pattern).unwrap()),
        ..Selector::default()
    }
}

fn task(cgroup: &str, uid: u32, gid: u32) -> Task<'_> {
    Task {
        cgroup,
        uid,
        gid: Some(gid),
        executable: 0,
        netns: None,
    }
}

fn user(uid: u32) -> Selector {
    Selector {
        uid: Some(uid),
        ..Selector::default()
    }
}

fn decides(tables: &RuleTables, to: &str, selection: u32) -> Option<u32> {
    let to: SocketAddr = to.parse().unwrap();
    decides_of(tables, Protocol::Tcp, to, selection)
}

fn decides_of(
    tables: &RuleTables,
    protocol: Protocol,
    to: SocketAddr,
    selection: u32,
) -> Option<u32> {
    match tables.decide(protocol, OriginalDst::new(to), selection) {
        Verdict::Redirect(rule) if protocol == Protocol::Tcp => Some(rule.index),
        Verdict::Pass(rule) | Verdict::Deny(rule) if protocol == Protocol::Udp => Some(rule.index),
        Verdict::Unmatched => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_prefix_decides_and_shorter_ones_fill_its_gaps() {
    let config = config(
        vec![
            rule(None, &["10.0.0.0/8"], &[1..=65535]),
            rule(None, &["10.1.0.0/16"], &[80..=80, 9000..=9100]),
            rule(None, &["fd00::/8"], &[443..=443]),
        ],
        &[],
        &["10.2.0.0/16"],
    );
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    assert_eq!(decides(&tables, "10.1.2.3:80", 0), Some(1));
    assert_eq!(decides(&tables, "10.1.2.3:9050", 0), Some(1));
    assert_eq!(decides(&tables, "10.1.2.3:81", 0), Some(0));
    assert_eq!(decides(&tables, "10.3.2.3:80", 0), Some(0));
    assert_eq!(decides(&tables, "10.2.2.3:80", 0), None, "exclusions win");
    assert_eq!(decides(&tables, "11.0.0.1:80", 0), None);
    assert_eq!(decides(&tables, "[fd00::1]:443", 0), Some(2));
    assert_eq!(decides(&tables, "[fd00::1]:444", 0), None);
    assert_eq!(
        decides(&tables, "[::ffff:10.1.2.3]:80", 0),
        Some(1),
        "mapped is IPv4"
    );
}

#[test]
fn a_rule_for_a_selection_precedes_one_for_everybody() {
    let web = Select {
        include: vec![cgroup("/web")],
        exclude: vec![user(0)],
    };
    let config = config(
        vec![
            rule(None, &["10.0.0.0/8"], &[80..=80]),
            rule(Some("web"), &["10.0.0.0/8"], &[80..=80]),
        ],
        &[("web", web)],
        &[],
    );
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let decided = |cgroup, uid| {
        let selection = tables.selection(&task(cgroup, uid, 0));
        decides(&tables, "10.0.0.1:80", selection)
    };
    assert_eq!(decided("/web", 1000), Some(1));
    assert_eq!(decided("/web", 0), Some(0), "root is excluded");
    assert_eq!(decided("/", 1000), Some(0));
}

#[test]
fn a_cgroup_below_a_selected_one_is_selected_by_both() {
    let config = config(
        vec![
            rule(Some("a"), &["10.0.0.0/8"], &[80..=80]),
            rule(Some("b"), &["10.0.0.0/8"], &[81..=81]),
        ],
        &[
            (
                "a",
                Select {
                    include: vec![cgroup("/a")],
                    exclude: vec![],
                },
            ),
            (
                "b",
                Select {
                    include: vec![cgroup("/a/b")],
                    exclude: vec![],
                },
            ),
        ],
        &[],
    );
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    let of = |cgroup| tables.selection(&task(cgroup, 0, 0));
    let (a, b) = (of("/a"), of("/a/b"));
    assert_eq!(decides(&tables, "10.0.0.1:80", b), Some(0));
    assert_eq!(decides(&tables, "10.0.0.1:81", b), Some(1));
    assert_eq!(decides(&tables, "10.0.0.1:81", a), None);
    assert_eq!(decides(&tables, "10.0.0.1:80", 0), None);
}

#[test]
fn a_commands_own_cgroup_is_in_every_selection() {
    let config = config(
        vec![rule(Some("web"), &["10.0.0.0/8"], &[80..=80])],
        &[(
            "web",
            Select {
                include: vec![cgroup("/web")],
                exclude: vec![],
            },
        )],
        &[],
    );
    let tables = RuleTables::compile(&config, Scope::Everything, 1);
    assert_eq!(decides(&tables, "10.0.0.1:80", 1), Some(0));
}

#[test]
fn a_commands_own_cgroup_has_the_rules_that_are_for_everybody() {
    let config = config(vec![rule(None, &["10.0.0.0/8"], &[80..=80])], &[], &[]);
    let tables = RuleTables::compile(&config, Scope::Everything, 1);
    assert_eq!(decides(&tables, "10.0.0.1:80", 1), Some(0));
}

#[test]
fn a_rule_for_all_of_ipv6_leaves_ipv4_alone_in_the_kernels_one_trie_too() {
    let config = config(vec![rule(None, &["::/0"], &[1..=65535])], &[], &[]);
    let tables = RuleTables::compile(&config, Scope::Selections, 1);
    assert_eq!(decides(&tables, "[2001:db8::1]:80", 0), Some(0));
    assert_eq!(decides(&tables, "10.0.0.1:80", 0), None);
    let v4 = &tables.destinations[&"0.0.0.0/0".parse::<IpNet>().unwrap()];
    assert!(
        tables.classes.read().rules(*v4, 0).is_empty(),
        "IPv4 has a class of its own, without rules"
    );
}

mod documented;
mod lookups;
mod netns;
mod order;
mod unclassified;

/// One of them is left alone unless it is named.
fn first_byte(of: u8) -> u8 {
    [8, 9, 10, 127].get(usize::from(of)).copied().unwrap()
}

fn any_net() -> impl Strategy<Value = IpNet> {
    // Few bits, so that prefixes nest and collide.
    (
        0_u8..4,
        0_u8..4,
        prop::sample::select(vec![6_u8, 8, 14, 16, 24, 32]),
    )
        .prop_map(|(a, b, len)| {
            let addr = std::net::Ipv4Addr::new(first_byte(a), b, 0, 0);
            IpNet::new(addr.into(), len).unwrap().trunc()
        })
}

fn any_rule() -> impl Strategy<Value = OutboundRule> {
    let ports = prop::collection::vec((1_u16..40, 0_u16..12).prop_map(|(a, n)| a..=a + n), 1..3);
    let select = prop::option::of(prop::sample::select(vec!["a", "b"]));
    let to = prop::collection::vec(any_net(), 1..3);
    (select, to, ports, any_protocols()).prop_map(|(select, to, ports, protocols)| OutboundRule {
        to,
        ports,
        protocols,
        ..rule(select, &[], &[])
    })
}

fn any_protocols() -> impl Strategy<Value = Protocols> {
    let beside = |udp| Protocols { tcp: true, udp };
    prop::sample::select(vec![
        Protocols::TCP,
        Protocols::UDP,
        Protocols::ANY,
        beside(Datagrams::Denied),
        beside(Datagrams::Passed),
    ])
}

proptest! {
    #[test]
    fn tables_decide_as_the_rules_read(
        rules in prop::collection::vec(any_rule(), 1..8),
        exclude in prop::collection::vec(any_net(), 0..2),
        probes in prop::collection::vec((0_u8..4, 0_u8..4, 0_u8..2, 1_u16..60), 20),
    ) {
        let mut config = config(
            rules,
            &[
                ("a", Select { include: vec![cgroup("/a")], exclude: vec![] }),
                ("b", Select { include: vec![cgroup("/a/b"), user(7)], exclude: vec![] }),
            ],
            &[],
        );
        config.intercept.exclude_to = exclude;
        let tables = RuleTables::compile(&config, Scope::Selections, 1);
        for (path, uid, selected) in [
            ("/", 0, vec![]),
            ("/", 7, vec!["b"]),
            ("/a", 0, vec!["a"]),
            ("/a/b/c", 0, vec!["a", "b"]),
        ] {
            let selected: BTreeSet<String> = selected.into_iter().map(str::to_owned).collect();
            let class = tables.selection(&task(path, uid, 0));
            for (a, b, c, port) in &probes {
                let to = SocketAddr::from(([first_byte(*a), *b, 0, *c], *port));
                for protocol in Protocol::ALL {
                    let expected = naive(&config, protocol, to, &selected).map(|(index, _)| index);
                    prop_assert_eq!(decides_of(&tables, protocol, to, class), expected);
                    let possible = tables.possible(protocol, OriginalDst::new(to));
                    let index = |rule: &Option<Rule>| rule.map(|rule| rule.index);
                    prop_assert!(possible.iter().any(|rule| index(rule) == expected));
                }
            }
        }
    }
}
