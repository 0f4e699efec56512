//! Explanations as text.

use super::{InKernel, Said};
use crate::policy::explain::{Called, Explanation, Incoming, Lost, Served};

pub(super) fn of_connections(said: &Said) -> String {
    let mut out = String::new();
    for (turn, one) in said.explained.iter().enumerate() {
        out += &of_connection(one);
        match said.kernel.get(turn) {
            None => {}
            Some(InKernel::Agrees) => out += "  the kernel's own tables say the same\n",
            Some(InKernel::Unclassified) => {
                out += "  the kernel has not been told of the cgroup or the network namespace yet: the proxy decides\n";
            }
            Some(InKernel::Differs(what)) => {
                out += &format!(
                    "  NOT SO IN THE KERNEL: {what}\n    fix: restart the daemon, which fills them \
                     again\n"
                );
            }
            Some(InKernel::NotRead(why)) => {
                out += &format!("  not compared with the kernel's own tables: {why}\n");
            }
        }
    }
    if let Some(now) = &said.now {
        out += &format!("now: {now}\n");
    }
    out
}

fn of_connection(one: &Explanation) -> String {
    let decided = match (&one.decision.rule, one.decision.verdict.as_str()) {
        (Some(rule), _) => format!("decided by {rule:?}"),
        (None, _) => "decided by no rule of the file".to_owned(),
    };
    let executable = one.task.exe.as_deref();
    let executable = executable.unwrap_or("no executable that counts");
    let mut out = format!(
        "{} {} from {} (user {}, group {}, {executable})\n  {}; {decided}\n",
        one.protocol,
        one.destination,
        one.task.cgroup,
        one.task.uid,
        one.task.gid,
        one.decision.meaning,
    );
    if let Some(fail) = &one.decision.fail {
        out += &format!("  without a proxy that is alive: {fail}\n");
    }
    let selections = match one.selections.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    out += &format!("  selections of the task: {selections}\n");
    if let Some(called) = &one.called {
        let called = match called {
            Called::Unknown => {
                "not known yet; where rules tell namespaces apart, its connections get the strictest \
                 rule that could be theirs until the daemon has looked"
                    .to_owned()
            }
            Called::Known(names) if names.is_empty() => "none that a selection names".to_owned(),
            Called::Known(names) => names.join(", "),
        };
        out += &format!("  its network namespace: {called}\n");
    }
    out + &of_lost(&one.lost)
}

pub(super) fn of_port(one: &Incoming, now: Option<&str>) -> String {
    let decided = match &one.rule {
        Some(rule) => format!("decided by {rule:?}"),
        None => "decided by no rule".to_owned(),
    };
    let from = match one.from {
        Some(from) => format!(" from {from}"),
        None => String::new(),
    };
    let mut out = format!("port {}{from}: {decided}\n", one.port);
    for what in &one.meaning {
        out += &format!("  {what}\n");
    }
    out += &of_lost(&one.lost);
    if let Some(now) = now {
        out += &format!("now: {now}\n");
    }
    out
}

pub(super) fn of_listener(one: &Served, now: Option<&str>) -> String {
    let at: Vec<String> = one.at.iter().map(ToString::to_string).collect();
    let (mode, tls) = (&one.mode, &one.tls);
    let mut out = format!(
        "listener {:?} at {}: mode {mode}, TLS {tls}\n",
        one.listener,
        at.join(", ")
    );
    for what in &one.meaning {
        out += &format!("  {what}\n");
    }
    if let Some(request) = &one.request {
        out += &match &request.route {
            Some(route) => format!("the request takes the route {route:?}\n"),
            None => "the request takes no route\n".to_owned(),
        };
        for what in &request.meaning {
            out += &format!("  {what}\n");
        }
        out += &of_lost(&request.lost);
    }
    if let Some(now) = now {
        out += &format!("now: {now}\n");
    }
    out
}

fn of_lost(lost: &[Lost]) -> String {
    let lines = lost.iter();
    lines
        .map(|one| format!("  not {:?}: {}\n", one.rule, one.why))
        .collect()
}
