//! The state of an instance as text.

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    cli::{at, table},
    kernel::effective::Hook,
};

mod past;
mod serving;

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// All of it, for people.
pub(super) fn of(status: &Value) -> String {
    if at(status, "/intercepts") == false {
        return serving::of_plain(status);
    }
    let mut out = head(status);
    out += &verdict(status);
    if at(status, "/pid").is_number() {
        out += &of_daemon(status);
    }
    out += &serving::report(status);
    out += &programs(status);
    out += &others(status);
    out += &counters(status);
    if at(status, "/pid").is_number() {
        out += &past::report(status);
    }
    out
}

/// Whose state it is.
fn head(status: &Value) -> String {
    let (instance, state) = (text(at(status, "/instance")), text(at(status, "/state")));
    let attached = format!("attached at {}\n", text(at(status, "/cgroup")));
    if !at(status, "/pid").is_number() {
        return format!("instance {instance}: {state}\n{attached}");
    }
    let mut out = process(status);
    let names = |direction: &str| few(at(status, &format!("/rules/{direction}")));
    out += &attached;
    out += &format!(
        "rules, generation {}: outbound [{}], inbound [{}]\n",
        at(status, "/generation"),
        names("outbound"),
        names("inbound"),
    );
    out
}

/// The first of many names, and how many more there are.
fn few(names: &Value) -> String {
    const SHOWN: usize = 20;
    let all = names.as_array().map_or(&[][..], Vec::as_slice);
    let mut shown: Vec<_> = all.iter().take(SHOWN).map(text).collect();
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("and {more} more, see --json"));
    }
    shown.join(", ")
}

/// Which process it is.
fn process(status: &Value) -> String {
    let uptime = at(status, "/uptime").as_u64().unwrap_or_default();
    format!(
        "instance {} ({}), process {}, up {}\n",
        text(at(status, "/instance")),
        text(at(status, "/state")),
        at(status, "/pid"),
        humantime::format_duration(std::time::Duration::from_secs(uptime)),
    )
}

/// Whether it is as it was meant, and what is not.
fn verdict(status: &Value) -> String {
    let mut out = match at(status, "/effective").as_bool() {
        Some(true) => "EFFECTIVE: the kernel runs what is configured\n".to_owned(),
        _ => "NOT EFFECTIVE\n".to_owned(),
    };
    for fault in at(status, "/faults").as_array().into_iter().flatten() {
        out += &format!(
            "  {}\n    fix: {}\n",
            text(at(fault, "/what")),
            text(at(fault, "/fix"))
        );
    }
    for warning in at(status, "/warnings").as_array().into_iter().flatten() {
        out += &format!("warning: {}\n", text(warning));
    }
    out
}

/// The canary over each family.
fn canary(status: &Value) -> String {
    let ways = ["ipv4", "ipv6"].map(|family| {
        let way = at(status, &format!("/canary/{family}"));
        match at(way, "/latency_us") {
            Value::Null if way.is_null() => None,
            Value::Null => Some(format!("{family} LOST")),
            latency => Some(format!("{family} came back after {latency} µs")),
        }
    });
    let ways: Vec<String> = ways.into_iter().flatten().collect();
    if ways.is_empty() {
        return String::new();
    }
    let mut out = format!("canary through the redirect: {}\n", ways.join(", "));
    let others: Vec<&Value> = at(status, "/canary/namespaces")
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let lost = |one: &&&Value| {
        ["/ipv4/ok", "/ipv6/ok"]
            .iter()
            .any(|ok| at(one, ok) == false)
    };
    if !others.is_empty() {
        let came_back = others.len() - others.iter().filter(lost).count();
        let all = others.len();
        out += &format!("canary in other network namespaces: came back in {came_back} of {all}\n");
    }
    out
}

/// What a daemon knows of itself.
fn of_daemon(status: &Value) -> String {
    let mut out = canary(status);
    out += &format!(
        "connections {}, handshakes so far {}, records lost {}\n",
        at(status, "/connections"),
        at(status, "/handshakes"),
        at(status, "/records_lost"),
    );
    let tunnels = at(status, "/tunnels")
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (peer, idle) in &tunnels {
        out += &format!("idle tunnels to {peer}: {idle}\n");
    }
    for port in at(status, "/ports").as_array().into_iter().flatten() {
        let elsewhere = at(port, "/elsewhere");
        let outside = match elsewhere.as_u64() {
            Some(0) | None => String::new(),
            Some(_) => format!("; {elsewhere} outside the attach point get none"),
        };
        out += &format!(
            "inbound port {} of {}: {} sockets listen{outside}\n",
            at(port, "/port"),
            text(at(port, "/rule")),
            at(port, "/listening"),
        );
    }
    let namespaces = at(status, "/namespaces").as_array();
    let receives = |namespace: &Value| !at(namespace, "/inbound").is_null();
    if namespaces.is_some_and(|all| all.iter().any(receives)) {
        out += "inbound ports are those of the daemon's own network namespace\n";
    }
    for namespace in namespaces.into_iter().flatten() {
        let more = match at(namespace, "/why") {
            Value::Null => format!(
                "netns {} (inode {}), {} connections",
                at(namespace, "/netns"),
                at(namespace, "/inode"),
                at(namespace, "/connections"),
            ),
            why => text(why),
        };
        out += &format!(
            "namespace {}: {}, {more}\n",
            text(at(namespace, "/found")),
            text(at(namespace, "/state")),
        );
    }
    for proxy in at(status, "/proxies").as_array().into_iter().flatten() {
        let more = match at(proxy, "/why") {
            Value::Null => format!(
                "process {} ({}) in {}",
                at(proxy, "/pid"),
                text(at(proxy, "/executable")),
                text(at(proxy, "/cgroup")),
            ),
            why => text(why),
        };
        let netns = at(proxy, "/netns").as_u64();
        let inside = netns.map_or_else(String::new, |netns| format!(" in netns {netns}"));
        out += &format!(
            "proxy {} at {}{inside}: {}, {more}\n",
            text(at(proxy, "/proxy")),
            text(at(proxy, "/address")),
            text(at(proxy, "/state")),
        );
    }
    out + &refused(status)
}

fn refused(status: &Value) -> String {
    let counts = at(status, "/refused").as_object().into_iter().flatten();
    counts
        .map(|(reason, count)| format!("refused as {reason}: {count}\n"))
        .collect()
}

/// Programs of ours.
fn programs(status: &Value) -> String {
    let rows: Vec<Vec<String>> = at(status, "/programs")
        .as_array()
        .into_iter()
        .flatten()
        .map(|program| {
            let order = at(program, "/order")
                .as_array()
                .cloned()
                .unwrap_or_default();
            let order = order
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ");
            vec![
                text(at(program, "/program")),
                if at(program, "/effective") == true {
                    "yes".into()
                } else {
                    "NO".into()
                },
                at(program, "/id").to_string(),
                order,
                text(at(program, "/place")),
            ]
        })
        .collect();
    let headings = ["PROGRAM", "EFFECTIVE", "ID", "ORDER THERE", "PLACE"];
    format!("\n{}", table(&headings, &rows))
}

/// Hooks at which programs of others run too, in their order.
fn others(status: &Value) -> String {
    let Ok(hooks) = Vec::<Hook>::deserialize(at(status, "/hooks")) else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = hooks
        .iter()
        .filter(|hook| !hook.programs.iter().all(|ran| ran.ours))
        .flat_map(|hook| {
            hook.programs.iter().enumerate().map(|(turn, ran)| {
                let about = ran.about.clone().unwrap_or_default();
                let whose = if ran.ours {
                    "ours".to_owned()
                } else {
                    about.likely.unwrap_or_else(|| "-".into())
                };
                let pinned = about
                    .pinned
                    .map_or("-".into(), |path| path.display().to_string());
                vec![
                    hook.hook.clone(),
                    (turn + 1).to_string(),
                    ran.id.to_string(),
                    about.name,
                    whose,
                    about.loaded.unwrap_or_default(),
                    about.uid.map_or_else(String::new, |uid| uid.to_string()),
                    pinned,
                    hook.where_it_is(),
                ]
            })
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let headings = [
        "HOOK", "TURN", "ID", "NAME", "WHOSE", "LOADED", "UID", "PINNED", "PLACES",
    ];
    format!(
        "\nprograms of others beside ours:\n{}",
        table(&headings, &rows)
    )
}

fn counters(status: &Value) -> String {
    let mut out = String::new();
    let counters: Vec<Vec<String>> = at(status, "/counters")
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .map(|(name, count)| vec![name.clone(), count.to_string()])
        .collect();
    if !counters.is_empty() {
        out += "\n";
        out += &table(&["COUNTER", "COUNT"], &counters);
    }
    out
}
