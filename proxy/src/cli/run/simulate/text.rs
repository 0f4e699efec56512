//! A simulation for people.

use super::{Listeners, Namespaces, Simulated, listening::Configured};
use crate::{
    cli::table,
    kernel::attach::planned::{Planned, Turn},
};

pub(super) fn of(simulated: &Simulated) -> String {
    let mut out = format!(
        "a start with {} as instance {} would do this; nothing has been changed\n",
        simulated.config, simulated.instance
    );
    if simulated.in_force {
        out += "rules of this instance are in force already: it would take them over\n";
    }
    out += &match &simulated.cgroup {
        Some(cgroup) => format!("attach point {cgroup}\n"),
        None => "nothing is intercepted\n".to_owned(),
    };
    if let Some(pins) = &simulated.pins {
        out += &format!("pinned in {pins}\n");
    }
    let rules = &simulated.rules;
    for (select, rules) in &rules.rules {
        out += &format!("outbound rules for {select}: {}\n", rules.join(", "));
    }
    for (rule, said) in &rules.udp {
        out += &format!("datagrams, rule {rule}: {said}\n");
    }
    for (rule, ports) in &rules.inbound {
        out += &format!("inbound rule {rule}: ports {ports}\n");
    }
    for (name, at) in &rules.proxies {
        out += &format!("proxy {name}: looked for at {}\n", at.join(", "));
    }
    for (name, at) in &rules.upstreams {
        out += &format!("upstream {name}: at {}\n", at.join(", "));
    }
    if !rules.egress.is_empty() {
        out += &format!(
            "egress rules of the own gateway: {}\n",
            rules.egress.join(", ")
        );
    }
    for route in &simulated.routes {
        out += &format!("route {route}\n");
    }
    let rows = simulated.namespaces.iter().map(namespace).collect();
    out += &section("network namespaces", &["ENTRY", "NOW", "OTHERWISE"], rows);
    if !simulated.named.is_empty() {
        let rows = simulated.named.iter().map(namespace).collect();
        let title = "network namespaces that selections name";
        out += &section(title, &["ENTRY", "NOW", "OTHERWISE"], rows);
    }
    let rows = simulated.listeners.iter().map(listener).collect();
    out += &section(
        "listeners, on ports that the kernel chooses where none is said",
        &["FOR", "AT", "COUNT", "NAMESPACE"],
        rows,
    );
    if !simulated.programs.is_empty() {
        let rows = simulated.programs.iter().map(program).collect();
        out += &section(
            "attached, in this order",
            &["PROGRAM", "HOOK", "LASTS", "ORDER THEN", "PLACE"],
            rows,
        );
    }
    for (heading, lines) in [
        ("beware", &simulated.warnings),
        ("it would fail", &simulated.refused),
        ("not looked at", &simulated.not_looked_at),
    ] {
        if !lines.is_empty() {
            out += &format!("\n{heading}:\n");
            for line in lines {
                out += &format!("  {}\n", line.replace('\n', "\n  "));
            }
        }
    }
    out
}

fn section(title: &str, headings: &[&str], rows: Vec<Vec<String>>) -> String {
    format!("\n{title}:\n{}", table(headings, &rows))
}

fn namespace(one: &Namespaces) -> Vec<String> {
    let found = match one.found.as_slice() {
        [] => "none".to_owned(),
        found => found.join(", "),
    };
    vec![
        one.entry.clone(),
        found,
        one.otherwise.clone().unwrap_or_default(),
    ]
}

fn listener(one: &Listeners) -> Vec<String> {
    let takes = match &one.listener {
        Some(Configured { name, mode, tls }) => format!("{} {name}: {mode}, TLS {tls}", one.takes),
        None => one.takes.to_owned(),
    };
    vec![
        takes,
        one.at.clone(),
        one.count.to_string(),
        one.namespace.clone(),
    ]
}

fn program(planned: &Planned) -> Vec<String> {
    let turn = |turn: &Turn| match (turn.ours, turn.id) {
        (false, Some(id)) if turn.name.is_empty() => id.to_string(),
        (false, Some(id)) => format!("{} ({id})", turn.name),
        _ => "ours".to_owned(),
    };
    let order: Vec<String> = planned.order.iter().map(turn).collect();
    vec![
        planned.program.to_owned(),
        planned.hook.to_owned(),
        if planned.pinned {
            "pinned".into()
        } else {
            "with the daemon".into()
        },
        order.join(", "),
        planned.place.clone(),
    ]
}
