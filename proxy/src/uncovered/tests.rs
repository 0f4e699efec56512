use std::path::Path;

use super::*;
use crate::{config::Config, kernel::rules::Scope};

const RULES: &str = r#"
version = 1
[intercept]
cgroup = "/apps"
[select.web]
include = [{ cgroup = "/apps/web" }]
[[outbound]]
name = "web"
select = "web"
to = ["10.0.0.0/8"]
action = "passthrough"
[[outbound]]
name = "all"
to = ["10.2.0.0/16"]
action = "deny"
"#;

const ROOT: u64 = 1;
const WEB: u64 = 3;
const OTHER: u64 = 4;
const OUTSIDE: u64 = 5;
const PORT: u16 = 40000;

fn owners(holder: &str) -> Owners {
    owners_that_run(holder, None)
}

fn owners_that_run(holder: &str, exe: Option<&str>) -> Owners {
    let cgroups = [
        (ROOT, "/"),
        (WEB, "/apps/web"),
        (OTHER, "/apps/other"),
        (OUTSIDE, "/apps2"),
    ];
    let holder = Holder {
        exe: exe.map(str::to_owned),
        pid: 1,
        command: "peer".into(),
        cgroup: holder.into(),
        uid: 0,
        gid: 0,
    };
    Owners {
        cgroups: cgroups.map(|(id, path)| (id, path.to_owned())).into(),
        holders: HashMap::from([(7, vec![holder])]),
    }
}

fn socket(from: u16, to: &str, cgroup: u64, inode: u32) -> Connected {
    Connected::example(
        ([10, 0, 0, 1], from).into(),
        to.parse().unwrap(),
        cgroup,
        inode,
    )
}

/// The rule that is past, and why.
fn judged(socket: &Connected, holder: &str) -> Option<(String, Why)> {
    judged_below("/apps", socket, holder)
}

fn judged_below(top: &str, socket: &Connected, holder: &str) -> Option<(String, Why)> {
    judged_by(RULES, top, socket, &owners(holder))
}

fn judged_by(rules: &str, top: &str, socket: &Connected, owners: &Owners) -> Option<(String, Why)> {
    let config = Config::parse(rules, Path::new("test")).unwrap();
    let policy = Policy::build(config, Scope::Selections, 1, None).unwrap();
    let view = View {
        policy: &policy,
        own: 9,
        pid: 99,
        top,
        proxies: &HashSet::new(),
        older: &HashSet::new(),
    };
    let around = Surroundings {
        namespace: Namespace::own(1).unwrap(),
        found: None,
        listeners: HashSet::new(),
        listening: HashSet::from([8080]),
        ephemeral: 32768..=60999,
    };
    if !view.is_suspect(&around.listeners, socket) || around.accepted(socket) {
        return None;
    }
    let uncovered = view.judge(&around, socket, owners)?;
    assert!(uncovered.is_in("host") && !uncovered.is_in("1"));
    Some((uncovered.rule.unwrap_or_default(), uncovered.why))
}

#[test]
fn the_cgroup_of_who_has_it_decides_and_then_that_of_its_birth() {
    let to = "10.1.0.1:80";
    let past = |why| Some(("web".to_owned(), why));
    assert_eq!(
        judged(&socket(PORT, to, WEB, 7), "/apps/web"),
        past(Why::OlderThanRule)
    );
    assert_eq!(
        judged(&socket(PORT, to, OTHER, 7), "/apps/web"),
        past(Why::Moved)
    );
    assert_eq!(
        judged(&socket(PORT, to, WEB, 7), "/apps/other"),
        past(Why::Moved)
    );
    assert_eq!(
        judged(&socket(PORT, to, OUTSIDE, 7), "/apps/web"),
        past(Why::BornOutside)
    );
    assert_eq!(
        judged(&socket(PORT, to, 999, 7), "/apps/web"),
        past(Why::BornOutside)
    );
    assert_eq!(judged(&socket(PORT, to, OTHER, 7), "/apps/other"), None);
    assert_eq!(judged(&socket(PORT, to, OUTSIDE, 7), "/apps2"), None);
    let denied = judged(&socket(PORT, "10.2.0.1:80", OTHER, 7), "/apps/other");
    assert_eq!(denied, Some(("all".into(), Why::OlderThanRule)));
    assert_eq!(
        judged(&socket(PORT, "192.0.2.1:80", WEB, 7), "/apps/web"),
        None
    );
}

#[test]
fn what_is_excluded_by_executable_is_past_no_rule_wherever_its_socket_was_made() {
    let backup = "/opt/example/bin/backup";
    let exclude =
        r#"exclude = [{ cgroup = "/apps/web", exe = "/opt/example/bin/backup", gid = 0 }]"#;
    let include = r#"include = [{ cgroup = "/apps/web" }]"#;
    let rules = RULES.replace(include, &format!("{include}\n{exclude}"));
    let judged = |born: u64, holder: &str, exe: Option<&str>| {
        let to = socket(PORT, "10.1.0.1:80", born, 7);
        judged_by(&rules, "/apps", &to, &owners_that_run(holder, exe)).map(|(_, why)| why)
    };
    assert_eq!(judged(WEB, "/apps/web", Some(backup)), None);
    assert_eq!(
        judged(WEB, "/apps/other", Some(backup)),
        None,
        "it has moved"
    );
    assert_eq!(judged(WEB, "/apps/web", None), Some(Why::OlderThanRule));
    assert_eq!(
        judged(WEB, "/apps/other", Some("/bin/sh")),
        Some(Why::Moved)
    );
    let nobodys = socket(PORT, "10.1.0.1:80", WEB, 8);
    let past = judged_by(
        &rules,
        "/apps",
        &nobodys,
        &owners_that_run("/apps/web", Some(backup)),
    );
    assert_eq!(
        past,
        Some(("web".into(), Why::OlderThanRule)),
        "nobody is seen"
    );
}

#[test]
fn what_was_accepted_or_is_nobodys_is_never_closed() {
    let to = "10.1.0.1:50000";
    assert_eq!(
        judged(&socket(8080, to, WEB, 7), "/apps/web"),
        None,
        "accepted"
    );
    let whys = [
        judged(&socket(8081, to, WEB, 7), "/apps/web"),
        judged_below("/", &socket(PORT, "10.2.0.1:2049", ROOT, 8), "/"),
    ];
    // As far as the daemon may look.
    let hidden = judged(&socket(PORT, to, WEB, 8), "/apps/web");
    assert_eq!(hidden, Some(("web".into(), Why::OlderThanRule)));
    let whys = whys.map(|past| past.unwrap().1);
    assert_eq!(whys, [Why::PerhapsAccepted, Why::NobodyHasIt]);
}

#[test]
fn a_connected_datagram_socket_is_past_a_rule_that_denies_it_alone() {
    let udp = |to| {
        // Nobody accepts datagram sockets: any port may be a client's.
        let mut socket = socket(53, to, OTHER, 7);
        socket.protocol = Protocol::Udp;
        socket
    };
    let past = judged(&udp("10.2.0.1:443"), "/apps/other");
    assert_eq!(past, Some(("all".into(), Why::OlderThanRule)));
    assert_eq!(judged(&udp("10.1.0.1:443"), "/apps/web"), None, "about TCP");
}

#[test]
fn the_proxys_own_sockets_are_not_past_their_own_rules() {
    assert_eq!(
        judged(&socket(PORT, "10.1.0.1:80", 9, 7), "/apps/web"),
        None
    );
}
