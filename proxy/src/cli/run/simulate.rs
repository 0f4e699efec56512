//! `sidetrack run --simulate`: what a start would do, without any of it.

use std::path::Path;

use serde::Serialize;

use super::Exit;
use crate::{
    app,
    cli::{Failure, print, print_json},
    config::Config,
    kernel::{
        attach::{
            Points,
            planned::{self, Planned},
        },
        cgroup, hop, object,
        pins::{self, PinName},
        preflight::{self, Preflight},
    },
    tls::material::Material,
};

mod listening;
mod ruled;
mod text;

use listening::{Listeners, Namespaces};
use ruled::Ruled;

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
    namespaces: Vec<Namespaces>,
    /// Those that selections name.
    named: Vec<Namespaces>,
    listeners: Vec<Listeners>,
    programs: Vec<Planned>,
    /// Where links and maps would be pinned.
    pins: Option<String>,
    /// Routes that would be made, in the daemon's own network namespace if none is said.
    routes: Vec<String>,
    #[serde(flatten)]
    rules: Ruled,
    /// What it would do to programs of others.
    warnings: Vec<String>,
    /// Why a start would fail.
    refused: Vec<String>,
    /// What this user may not look at.
    not_looked_at: Vec<String>,
}

/// Prints it. The kernel is asked and told nothing.
pub(super) fn run(config: &Config, json: bool) -> Result<Exit, Failure> {
    let simulated = simulate(config);
    if json {
        print_json(&simulated)?;
    } else {
        print(&text::of(&simulated))?;
    }
    Ok(match simulated.refused.is_empty() {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn simulate(config: &Config) -> Simulated {
    let name = PinName::of(&config.daemon.instance);
    let (mut refused, mut not_looked_at) = (Vec::new(), Vec::new());
    let mut warnings = Vec::new();
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
    let mut found = None;
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
                elsewhere: config.receives_in_namespaces(),
            };
            programs = points.planned(&name);
            found = Some(mount);
        }
    }
    let namespaces = listening::namespaces(config, found.as_deref());
    let received = listening::received(config, &namespaces);
    programs.extend(planned::elsewhere(&name, &received));
    for planned in &programs {
        let at = format!("{} at {}", planned.hook, planned.place);
        let refusal = planned.refused.as_ref();
        refused.extend(refusal.map(|why| format!("attaching {}: {why}", planned.program)));
        warnings.extend(planned.displaces.clone());
        let unseen = planned.unseen.as_ref();
        not_looked_at.extend(unseen.map(|why| format!("programs of others, {at}: {why}")));
    }
    let listeners = listening::listeners(config, &namespaces);
    let named = listening::named(config, found.as_deref());
    let own = (!config.inbound.is_empty()).then(String::new);
    let others = received.iter();
    let others = others.map(|there| format!(", in {}", listening::name(there.inode)));
    let routes = own.into_iter().chain(others).flat_map(|at| {
        hop::prefixes().flat_map(move |net| {
            [
                format!("unreachable {net}, table main{at}"),
                format!("local {net} dev lo, table local{at}"),
            ]
        })
    });
    Simulated {
        instance: name.to_string(),
        config: config.path.display().to_string(),
        changed: false,
        in_force,
        cgroup: governed.display().to_string(),
        namespaces,
        named,
        listeners,
        programs,
        pins: pins::folder(&name).map(|folder| folder.display().to_string()),
        routes: routes.collect(),
        rules: Ruled::by(config),
        warnings,
        refused,
        not_looked_at,
    }
}
