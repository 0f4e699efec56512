//! `sidetrack status`: what is attached and effective.

use clap::Args;
use serde_json::Value;

use super::{Exit, Failure, InstanceArgs, at, print, print_json, table};
use crate::control::Question;

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  sidetrack status\n  sidetrack status --instance blue --json")]
pub struct StatusArgs {
    /// Which daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints it.
///
/// # Errors
/// [`Exit::Failed`] if there is no daemon. What is not effective is the table's, and
/// [`Exit::Failed`] too.
pub fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let status = args.of.ask(Question::Status)?;
    if args.json {
        print_json(&status)?;
    } else {
        print(&report(&status))?;
    }
    Ok(match at(&status, "/effective").as_bool() {
        Some(true) => Exit::Done,
        _ => Exit::Failed,
    })
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn report(status: &Value) -> String {
    let mut out = format!(
        "instance {} ({}), process {}, up {}\n",
        text(at(status, "/instance")),
        text(at(status, "/state")),
        at(status, "/pid"),
        humantime::format_duration(std::time::Duration::from_secs(
            at(status, "/uptime").as_u64().unwrap_or_default()
        )),
    );
    let names = |direction: &str| {
        let names = at(status, &format!("/rules/{direction}"))
            .as_array()
            .cloned()
            .unwrap_or_default();
        names.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    out += &format!("attached at {}\n", text(at(status, "/cgroup")));
    out += &format!(
        "rules, generation {}: outbound [{}], inbound [{}]\n",
        at(status, "/generation"),
        names("outbound"),
        names("inbound"),
    );
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
        out += &format!(
            "proxy {} at {}: {}, {more}\n",
            text(at(proxy, "/proxy")),
            text(at(proxy, "/address")),
            text(at(proxy, "/state")),
        );
    }
    for namespace in at(status, "/namespaces").as_array().into_iter().flatten() {
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
    for (reason, count) in at(status, "/refused").as_object().into_iter().flatten() {
        out += &format!("refused as {reason}: {count}\n");
    }
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
    out += "\n";
    out += &table(
        &["PROGRAM", "EFFECTIVE", "ID", "ORDER THERE", "PLACE"],
        &rows,
    );
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
    out += "\nnot covered:\n";
    for what in at(status, "/not_covered").as_array().into_iter().flatten() {
        out += &format!("  {}\n", text(what));
    }
    out
}
