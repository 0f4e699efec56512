use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::{super::Holder, *};
use crate::{config::Config, config::Protocol, kernel::rules::Scope, netns::Namespace};

const TO: &str = "10.1.0.1:80";
const WEB: u64 = 3;

fn policy(rules: &str, generation: u32) -> Policy {
    let select = "version = 1\n[intercept]\ncgroup = \"/apps\"\n\
                  [select.web]\ninclude = [{ cgroup = \"/apps/web\" }]\n\
                  [select.others]\ninclude = [{ cgroup = \"/apps\" }]\n\
                  exclude = [{ cgroup = \"/apps/web\", uid = 7 }]\n";
    let config = Config::parse(&format!("{select}{rules}"), Path::new("test")).unwrap();
    Policy::build(config, Scope::Selections, generation, None).unwrap()
}

fn rule(action: &str) -> String {
    rule_of(action, "")
}

fn rule_of(action: &str, more: &str) -> String {
    format!("[[outbound]]\nname = \"one\"\nto = [\"10.0.0.0/8\"]\naction = {action:?}\n{more}\n")
}

fn from(address: &str) -> Connected {
    Connected::example(address.parse().unwrap(), TO.parse().unwrap(), WEB, 7)
}

fn held_by(uid: u32) -> Owners {
    let holder = Holder {
        exe: None,
        pid: 1,
        command: "peer".into(),
        cgroup: "/apps/web".into(),
        uid,
        gid: 0,
    };
    Owners {
        cgroups: HashMap::from([(WEB, "/apps/web".to_owned())]),
        holders: HashMap::from([(7, vec![holder])]),
    }
}

fn closes(before: &str, now: &str, socket: &Connected, owners: &Owners) -> bool {
    let (before, now) = (policy(before, 1), policy(now, 2));
    by_change(&before, &now, |change| {
        let refused = change.refuses(&around(), socket, owners).is_some();
        assert!(!refused || can_refuse(&before, &now) && change.could_refuse(socket));
        refused
    })
}

fn around() -> Surroundings {
    Surroundings {
        namespace: Namespace::own(1).unwrap(),
        found: None,
        listeners: HashSet::new(),
        listening: HashSet::new(),
        ephemeral: 32768..=60999,
    }
}

fn by_change(before: &Policy, now: &Policy, ask: impl FnOnce(&Change<'_>) -> bool) -> bool {
    let (proxies, older) = (HashSet::new(), HashSet::new());
    let view = |policy| View {
        policy,
        own: 9,
        pid: 99,
        top: "/apps",
        proxies: &proxies,
        older: &older,
    };
    ask(&Change {
        before: view(before),
        now: view(now),
    })
}

#[test]
fn what_the_rules_before_let_be_and_those_of_now_deny_is_refused_and_nothing_else() {
    let socket = from("10.0.0.1:40000");
    let closes = |before: &str, now: &str| closes(before, now, &socket, &held_by(0));
    let [deny, ignore, plain] = ["deny", "ignore", "passthrough"].map(rule);
    for before in ["", &ignore, &plain] {
        assert!(closes(before, &deny), "{before}");
    }
    for now in ["", &ignore, &plain] {
        assert!(!closes(&ignore, now) && !closes(&deny, now), "{now}");
    }
    let other = deny.replace("one", "two");
    assert!(!closes(&deny, &other), "it was past a rule that denies");
}

#[test]
fn a_datagram_socket_is_refused_by_a_rule_that_denies_datagrams_alone() {
    let mut socket = from("10.0.0.1:40000");
    socket.protocol = Protocol::Udp;
    let closes = |now: &str| closes(&rule("ignore"), now, &socket, &held_by(0));
    assert!(closes(&rule_of("deny", "protocol = \"udp\"")));
    assert!(!closes(&rule_of("deny", "protocol = \"tcp\"")));
    assert!(!closes(&rule("passthrough")));
}

#[test]
fn who_has_it_open_is_judged_and_its_cgroup_only_if_nobody_is_seen() {
    let socket = from("10.0.0.1:40000");
    let now = rule_of("deny", "select = \"others\"");
    let closes = |owners: &Owners| closes(&rule("ignore"), &now, &socket, owners);
    assert!(closes(&held_by(0)));
    assert!(!closes(&held_by(7)), "excluded by its user");
    let mut unseen = held_by(7);
    unseen.holders.clear();
    assert!(closes(&unseen));
}

#[test]
fn a_reload_with_the_same_rules_or_none_that_refuses_looks_at_nothing() {
    let both = |before: &str, now: &str| can_refuse(&policy(before, 1), &policy(now, 2));
    let deny = rule("deny");
    assert!(!both(&deny, &deny));
    assert!(!both(&deny, ""));
    assert!(!both(&deny, &rule("ignore")));
    assert!(both("", &deny));
}

#[test]
fn who_is_behind_a_socket_is_asked_only_where_the_new_rules_ask_more_of_somebody() {
    let asks = |before: &str, now: &str| {
        let socket = from("10.0.0.1:40000");
        let (before, now) = (policy(before, 1), policy(now, 2));
        by_change(&before, &now, |change| change.could_refuse(&socket))
    };
    let (deny, ignore) = (rule("deny"), rule("ignore"));
    let elsewhere = deny.replace("10.0.0.0/8", "10.2.0.0/16");
    let other_port = rule_of("deny", "ports = [\"81\"]");
    let of_some = rule_of("deny", "select = \"web\"");
    for now in [&deny, &of_some] {
        assert!(asks("", now) && asks(&ignore, now), "{now}");
    }
    for now in ["", &ignore, &elsewhere, &other_port] {
        assert!(!asks(&ignore, now), "{now}");
    }
    let named = deny.replace("one", "two");
    assert!(!asks(&deny, &named) && !asks(&deny, &of_some));
    assert!(asks(&of_some, &deny), "to others it was not denied");
    let first = ignore
        .replace("one", "first")
        .replace("10.0.0.0/8", "10.1.0.0/16");
    assert!(
        !asks("", &(first + &deny)),
        "a longer prefix decides for everybody"
    );
}
