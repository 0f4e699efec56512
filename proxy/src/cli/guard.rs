//! `sidetrack guard`: the rules, in force before there is a daemon.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::Args;

use super::{Exit, Failure, print, run::pin_failure};
use crate::{
    app,
    config::Config,
    kernel::{
        Facts, KernelError, Left, LoadError, Redirector,
        attach::Points,
        listening::{self, Mend},
        object,
        pins::{self, PinError, PinName, Pins},
        preflight::{self, Preflight},
        rules::{RuleTables, Scope},
    },
    netns::{Namespace, named::Named},
};

/// Arguments of `guard`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example, in a unit that runs before network-pre.target:\n  \
                  sidetrack guard --config /etc/sidetrack/sidetrack.toml\n\n\
                  It pins programs and rules and ends. Until `sidetrack run` takes them over, each \
                  connection gets\nits rule's fail mode. `sidetrack detach` removes them."
)]
pub struct GuardArgs {
    /// The configuration. Keys and certificates that it names are not needed yet.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Puts the rules in force and ends.
///
/// # Errors
/// See [`Exit`].
pub fn run(args: GuardArgs) -> Result<Exit, Failure> {
    let config = Config::load(&args.config)?;
    object::embedded().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    Preflight::probe(object::EMBEDDED, config.limits.connections).require()?;
    let mount = preflight::cgroup2_mount().map_err(|error| {
        Failure::new(Exit::Missing, "finding the cgroup2 hierarchy").because(&error)
    })?;
    let name = PinName::of(&config.daemon.instance);
    let pins = match Pins::open(&name) {
        Ok(pins) => pins,
        // Whoever runs there has rules in force that are no older than these.
        Err(error @ PinError::Held { .. }) if pins::is_in_force(&name) => {
            print(&format!("nothing to do: {error}\n"))?;
            return Ok(Exit::Done);
        }
        Err(error) => return Err(pin_failure(&error)),
    };
    let governed = app::governed(&config, &mount);
    let generation = pins::next_generation(&name);
    let points = Points {
        governed: governed.clone(),
        proxy: None,
        inbound: true,
        elsewhere: config.receives_in_namespaces(),
    };
    let started = put_in_force(&config, pins, generation, &points);
    started.map_err(|error| {
        Failure::new(Exit::Missing, "putting the rules in force").because(error.as_ref())
    })?;
    for displaced in points.displaced() {
        // Nobody may read it, and the rules are in force all the same.
        let _ = writeln!(io::stderr(), "warning: {displaced}");
    }
    print(&format!(
        "rules of instance {name} are in force at {}, without a proxy; `sidetrack run` takes them \
         over, `sidetrack detach --instance {name}` removes them\n",
        governed.display()
    ))?;
    Ok(Exit::Done)
}

fn put_in_force(
    config: &Config,
    pins: Pins,
    generation: u32,
    points: &Points,
) -> Result<(), Box<dyn std::error::Error>> {
    let redirector = Redirector::load(Facts {
        own_cgroup: 0,
        slots: 0,
        tell_namespaces: false,
        alive_for: Duration::ZERO,
        pins: Some(pins),
    })
    .map_err(|error: LoadError| error)?;
    fill(&redirector, config, generation, points)?;
    redirector.will_leave(Left::InForce);
    Ok(())
}

fn fill(
    redirector: &Redirector,
    config: &Config,
    generation: u32,
    points: &Points,
) -> Result<(), KernelError> {
    let tables = RuleTables::compile(config, Scope::Selections, generation);
    if !tables.netns_asked().is_empty() {
        let own = Namespace::own(redirector.netns()).map_err(|error| {
            KernelError::new("opening the own network namespace", "mount /proc", error)
        })?;
        // Those that appear later are not known, and get the strictest rule that could be theirs.
        let names = Named::now(tables.netns_asked(), &own, None);
        tables.know_namespaces(&names);
    }
    redirector.activate(tables)?;
    // Applications of this host may reach each other's governed ports meanwhile.
    redirector.refresh_addresses()?;
    let sockets = listening::sockets()?;
    redirector.reconcile_listening(&sockets, None, Mend::AtOnce)?;
    redirector.attach(points)
}
