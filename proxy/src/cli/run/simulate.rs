//! `sidetrack run --simulate`: what a start would do, without any of it.

use std::path::PathBuf;

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
    /// The attach point; absent where nothing is intercepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
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

/// What it would do to the kernel.
#[derive(Default)]
struct Intercepting {
    in_force: bool,
    governed: PathBuf,
    mount: Option<PathBuf>,
    programs: Vec<Planned>,
    refused: Vec<String>,
    not_looked_at: Vec<String>,
}

impl Intercepting {
    fn look(config: &Config, name: &PinName) -> Self {
        let mut found = Self {
            governed: "/".into(),
            ..Self::default()
        };
        let preflight = Preflight::probe(object::EMBEDDED, config.limits.connections);
        if let Err(failure) = preflight.require() {
            found.refused.push(failure.to_string());
        }
        found.in_force = pins::are_in_force(name).unwrap_or_else(|error| {
            let why = format!("what is pinned: {error}");
            found.not_looked_at.push(why);
            false
        });
        if let Some(holder) = pins::holder(name) {
            found.refused.push(format!(
                "the instance {name} is in use by {holder}; stop it, or choose another \
                 daemon.instance"
            ));
        }
        match preflight::cgroup2_mount() {
            Err(error) => {
                let why = format!("finding the cgroup2 hierarchy: {error}");
                found.refused.push(why);
            }
            Ok(mount) => found.look_below(config, name, mount),
        }
        found
    }

    fn look_below(&mut self, config: &Config, name: &PinName, mount: PathBuf) {
        self.governed = app::governed(config, &mount);
        if !self.governed.is_dir() {
            self.refused.push(format!(
                "intercept.cgroup {:?}: {} does not exist",
                config.intercept.cgroup,
                self.governed.display()
            ));
        }
        let own = cgroup::own_name(&config.daemon.instance);
        let points = Points {
            governed: self.governed.clone(),
            proxy: cgroup::current(&mount).ok().map(|here| here.join(own)),
            inbound: true,
            elsewhere: config.receives_in_namespaces(),
        };
        self.programs = points.planned(name);
        self.mount = Some(mount);
    }
}

fn simulate(config: &Config) -> Simulated {
    let name = PinName::of(&config.daemon.instance);
    let intercepting = config.intercepts.then(|| Intercepting::look(config, &name));
    let cgroup = intercepting
        .as_ref()
        .map(|found| found.governed.display().to_string());
    let Intercepting {
        in_force,
        mount,
        mut programs,
        mut refused,
        mut not_looked_at,
        ..
    } = intercepting.unwrap_or_default();
    let mut warnings = Vec::new();
    if let Err(errors) = Material::load(config) {
        refused.push(format!("files that the configuration names\n{errors}"));
    }
    match listening::taken(config) {
        Ok(taken) => refused.extend(taken),
        Err(error) => not_looked_at.push(format!("who listens already: {error}")),
    }
    let namespaces = listening::namespaces(config, mount.as_deref());
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
    let named = listening::named(config, mount.as_deref());
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
        cgroup,
        namespaces,
        named,
        listeners,
        programs,
        pins: pins::folder(&name)
            .filter(|_| config.intercepts)
            .map(|folder| folder.display().to_string()),
        routes: routes.collect(),
        rules: Ruled::by(config),
        warnings,
        refused,
        not_looked_at,
    }
}
