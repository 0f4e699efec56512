//! `sidetrack run --simulate`: what a start would do, without any of it.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::Serialize;

use super::Exit;
use crate::{
    app,
    cli::{Failure, print, print_json, table},
    config::Config,
    kernel::{
        attach::{
            Points,
            planned::{Planned, Turn},
        },
        cgroup, object,
        pins::{self, PinName},
        preflight::{self, Preflight},
    },
    tls::material::Material,
};

/// What a start would do.
#[derive(Serialize)]
struct Simulated {
    instance: String,
    config: String,
    /// Never anything else.
    changed: bool,
    /// Whether rules of this instance are in force already.
    in_force: bool,
    cgroup: String,
    namespaces: Vec<String>,
    listeners: Listeners,
    programs: Vec<Planned>,
    /// Names of outbound rules by the selection that they are for, in the order of the file.
    rules: BTreeMap<String, Vec<String>>,
    inbound: Vec<String>,
    /// Why a start would fail.
    refused: Vec<String>,
    /// What this user may not look at.
    not_looked_at: Vec<String>,
}

/// Listeners for each family and direction, on the loopback address.
#[derive(Serialize)]
struct Listeners {
    ipv4: u32,
    ipv6: u32,
}

/// Prints it. The kernel is asked and told nothing.
pub(super) fn run(config: &Config, json: bool) -> Result<Exit, Failure> {
    let simulated = simulate(config);
    if json {
        print_json(&simulated)?;
    } else {
        print(&report(&simulated))?;
    }
    Ok(match simulated.refused.is_empty() {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn simulate(config: &Config) -> Simulated {
    let name = PinName::of(&config.daemon.instance);
    let (mut refused, mut not_looked_at) = (Vec::new(), Vec::new());
    if let Err(failure) = Preflight::probe(object::EMBEDDED, config.limits.connections).require() {
        refused.push(failure.to_string());
    }
    if let Err(errors) = Material::load(config) {
        refused.push(format!("files that the configuration names\n{errors}"));
    }
    let in_force = pins::are_in_force(&name).unwrap_or_else(|error| {
        not_looked_at.push(format!("what is pinned: {error}"));
        false
    });
    if let Some(holder) = pins::holder(&name) {
        refused.push(format!(
            "the instance {name} is in use by {holder}; stop it, or choose another daemon.instance"
        ));
    }
    let mut governed = Path::new("/").to_path_buf();
    let mut programs = Vec::new();
    match preflight::cgroup2_mount() {
        Err(error) => refused.push(format!("finding the cgroup2 hierarchy: {error}")),
        Ok(mount) => {
            governed = app::governed(config, &mount);
            if !governed.is_dir() {
                refused.push(format!(
                    "intercept.cgroup {:?}: {} does not exist",
                    config.intercept.cgroup,
                    governed.display()
                ));
            }
            let own = cgroup::own_name(&config.daemon.instance);
            let proxy = cgroup::current(&mount).ok().map(|here| here.join(own));
            let points = Points {
                governed: governed.clone(),
                proxy,
                inbound: true,
            };
            programs = points.planned(&name);
        }
    }
    for planned in &programs {
        let at = format!("{} at {}", planned.hook, planned.place);
        let refusal = planned.refused.as_ref();
        refused.extend(refusal.map(|why| format!("attaching {}: {why}", planned.program)));
        let unseen = planned.unseen.as_ref();
        not_looked_at.extend(unseen.map(|why| format!("programs of others, {at}: {why}")));
    }
    let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in &config.outbound {
        let select = rule.select.clone().unwrap_or_else(|| "everything".into());
        rules.entry(select).or_default().push(rule.name.clone());
    }
    Simulated {
        instance: name.to_string(),
        config: config.path.display().to_string(),
        changed: false,
        in_force,
        cgroup: governed.display().to_string(),
        namespaces: namespace().into_iter().collect(),
        listeners: Listeners {
            ipv4: config.intercept.listeners,
            ipv6: match fs::exists("/proc/net/if_inet6") {
                Ok(true) => config.intercept.listeners,
                _ => 0,
            },
        },
        programs,
        rules,
        inbound: config
            .inbound
            .iter()
            .map(|rule| rule.name.clone())
            .collect(),
        refused,
        not_looked_at,
    }
}

fn namespace() -> io::Result<String> {
    fs::read_link("/proc/self/ns/net").map(|link| link.display().to_string())
}

fn report(simulated: &Simulated) -> String {
    let mut out = format!(
        "a start with {} as instance {} would do this; nothing has been changed\n",
        simulated.config, simulated.instance
    );
    if simulated.in_force {
        out += "rules of this instance are in force already: it would take them over\n";
    }
    out += &format!(
        "attach point {}, network namespaces {}\nlisteners on the loopback address, for each \
         direction: {} for IPv4, {} for IPv6\n",
        simulated.cgroup,
        simulated.namespaces.join(", "),
        simulated.listeners.ipv4,
        simulated.listeners.ipv6,
    );
    for (select, rules) in &simulated.rules {
        out += &format!("outbound rules for {select}: {}\n", rules.join(", "));
    }
    if !simulated.inbound.is_empty() {
        out += &format!("inbound rules: {}\n", simulated.inbound.join(", "));
    }
    let rows: Vec<Vec<String>> = simulated.programs.iter().map(row).collect();
    let headings = ["PROGRAM", "HOOK", "LASTS", "ORDER THEN", "PLACE"];
    out += &format!("\nattached, in this order:\n{}", table(&headings, &rows));
    for (heading, lines) in [
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

fn row(planned: &Planned) -> Vec<String> {
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
