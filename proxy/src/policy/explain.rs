//! Which rule decides for a connection that is not made, which others do not, and why.
//!
//! The decision is that of the tables, by the same function as in the kernel. Why the others do not
//! decide is read from the rules as they are written.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sidetrack_abi::{
    Verdict,
    executable::NO_EXECUTABLE,
    rules::{FAIL_BLOCK, RULE_CANARY, Rule},
};

use crate::{
    addr::OriginalDst,
    config::{Config, OutboundAction, Protocol},
    kernel::rules::{RuleTables, Selections, Task},
};

mod incoming;
mod listener;
mod lost;

pub use incoming::{Incoming, incoming};
pub use listener::{Asked, AskedError, NotServed, Routed, Served, served};

/// Who would connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connecting {
    /// Its cgroup, as a path below the cgroup2 root.
    pub cgroup: String,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The path of its executable; absent if it has none that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Cookie of its socket's network namespace; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
}

/// What selections call a network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Called {
    /// Nobody has looked at it yet: where rules tell namespaces apart, connections from there are
    /// refused until somebody has.
    Unknown,
    /// By these entries; without any it is another one than all that are named.
    Known(Vec<String>),
}

/// Which rule decides, and why no other does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Where it would go.
    pub destination: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who would connect.
    pub task: Connecting,
    /// The selections that it is in.
    pub selections: Vec<String>,
    /// What selections call its network namespace; absent if none asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
    /// Whether programs run for it: its cgroup is the attach point or below it.
    pub governed: bool,
    /// The number that these have in the tables.
    pub class: u32,
    /// Generation of the rules.
    pub generation: u32,
    /// What the tables say.
    pub decision: Decision,
    /// Every other rule, in the order of the file.
    pub lost: Vec<Lost>,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// `unmatched`, `ignore`, `deny`, `redirect` or `pass`.
    pub verdict: String,
    /// Its index in the file; absent if no rule of the file decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The rule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// In a sentence.
    pub meaning: String,
    /// What holds without a proxy that is alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<String>,
}

/// A rule that does not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its name.
    pub rule: String,
    /// Why.
    pub why: String,
}

/// Explains one connection.
pub fn explain(
    config: &Config,
    tables: &RuleTables,
    protocol: Protocol,
    destination: SocketAddr,
    task: &Connecting,
) -> Explanation {
    let who = Task {
        cgroup: &task.cgroup,
        uid: task.uid,
        gid: Some(task.gid),
        executable: task
            .exe
            .as_deref()
            .map_or(NO_EXECUTABLE, |path| tables.executable(path)),
        netns: task.netns,
    };
    let called = (!tables.netns_asked().is_empty()).then(|| {
        let names = task.netns.and_then(|cookie| tables.names_of(cookie));
        names.map_or(Called::Unknown, Called::Known)
    });
    let to = OriginalDst::new(destination);
    let selections = tables.selections(&who);
    // Above the attach point and beside it no program runs.
    let governed = tables.governs(&task.cgroup);
    let class = tables.selection(&who);
    let decision = match governed {
        true => Decision::of(config, tables.decide(protocol, to, class)),
        false => Decision::none(format!(
            "goes its way: the cgroup {} is not below intercept.cgroup, {}",
            task.cgroup, tables.top
        )),
    };
    let lost = lost::Reading {
        config,
        protocol,
        ip: destination.ip().to_canonical(),
        port: destination.port(),
        selections: &selections,
        winner: decision.index,
        governed,
    };
    Explanation {
        destination,
        protocol: protocol.label().to_owned(),
        task: task.clone(),
        lost: lost.all(),
        selections: selections.certain,
        called,
        governed,
        class,
        generation: tables.generation,
        decision,
    }
}

impl Decision {
    /// What a verdict of the tables means.
    pub fn of(config: &Config, verdict: Verdict) -> Self {
        let (verdict, rule) = match verdict {
            Verdict::Unmatched => {
                return Self::none("goes its way: no rule is about it".to_owned());
            }
            Verdict::Ignore(rule) => ("ignore", rule),
            Verdict::Deny(rule) => ("deny", rule),
            Verdict::Redirect(rule) => ("redirect", rule),
            Verdict::Pass(rule) => ("pass", rule),
        };
        let named = config.outbound.get(rule.index as usize);
        let meaning = match verdict {
            "ignore" => "goes its way, and is not recorded".to_owned(),
            "pass" => "datagrams go their way, past any proxy".to_owned(),
            "deny" => format!(
                "fails with {:?}",
                nix::errno::Errno::from_raw(i32::from(rule.operand))
            ),
            _ if rule.index == RULE_CANARY => "is where the daemon's own canary goes".to_owned(),
            _ => match named.map(|named| &named.action) {
                Some(OutboundAction::Mtls(_)) => "is redirected, and goes on in mutual TLS".into(),
                Some(OutboundAction::Gateway { upstream, .. }) => {
                    format!("is redirected, and goes on in a tunnel to the gateway {upstream}")
                }
                Some(OutboundAction::Passthrough) => "is redirected, and goes on as it is".into(),
                Some(OutboundAction::Redirect { proxy }) => {
                    format!("is redirected to the proxy {proxy}")
                }
                Some(_) => "is redirected".to_owned(),
                None => "is redirected: the daemon looks which cgroup or network namespace it is, and decides".into(),
            },
        };
        Self {
            verdict: verdict.to_owned(),
            index: named.map(|_| rule.index),
            rule: named.map(|named| named.name.clone()),
            meaning,
            fail: (verdict == "redirect").then(|| fail(&rule)),
        }
    }

    fn none(meaning: String) -> Self {
        Self {
            verdict: "unmatched".to_owned(),
            index: None,
            rule: None,
            meaning,
            fail: None,
        }
    }
}

/// Several of them in a sentence.
fn listed(items: &[impl ToString]) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn fail(rule: &Rule) -> String {
    match rule.fail {
        FAIL_BLOCK => "block".to_owned(),
        _ => "pass".to_owned(),
    }
}

/// The selections that tasks are in, as far as is known, by name.
impl Selections {
    fn state(&self, name: &str) -> &'static str {
        let is_in = |names: &[String]| names.iter().any(|one| one == name);
        if is_in(&self.excluded) {
            "one of its exclude holds for the task"
        } else if is_in(&self.possible) {
            "it is not known whether the task is in it"
        } else {
            "none of its include holds for the task"
        }
    }
}
