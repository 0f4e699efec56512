//! `sidetrack check`: validates a configuration, prints every error.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, print, print_json};
use crate::{
    config::{Config, ConfigErrors, file},
    kernel::btf,
    tls::material::Material,
};

mod meaning;

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack check --config sidetrack.toml\n  \
                  sidetrack check --schema > sidetrack.schema.json"
)]
pub struct CheckArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE", required_unless_present = "schema")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print the JSON schema of a configuration file.
    #[arg(long, conflicts_with_all = ["config", "json"])]
    pub schema: bool,
}

/// Prints what the rules mean, or every error.
///
/// # Errors
/// [`Exit::Config`] with all errors.
pub fn run(args: CheckArgs) -> Result<Exit, Failure> {
    let Some(path) = args.config else {
        print_json(&file::schema())?;
        return Ok(Exit::Done);
    };
    match Config::load(&path) {
        Ok(mut config) => {
            let warnings = files(&config)?;
            config.warnings.extend(warnings);
            config.warnings.extend(no_executables(&config));
            if args.json {
                print_json(&meaning::as_json(&config))?;
            } else {
                print(&meaning::as_text(&config))?;
            }
            Ok(Exit::Done)
        }
        Err(errors) if args.json => {
            print_json(&refusal(&errors))?;
            Ok(Exit::Config)
        }
        Err(errors) => Err(errors.into()),
    }
}

/// Checks the files that the configuration names; their warnings are returned.
fn files(config: &Config) -> Result<Vec<String>, Failure> {
    Material::load(config)
        .map(|material| material.warnings)
        .map_err(|errors| {
            Failure::new(
                Exit::Config,
                format!("files that the configuration names\n{errors}"),
            )
        })
}

/// A daemon on this host would refuse what asks for executables; another host's may not.
fn no_executables(config: &Config) -> Option<String> {
    let selects = config.selects.values();
    let mut selectors = selects.flat_map(|select| select.include.iter().chain(&select.exclude));
    if !selectors.any(|selector| selector.executable.is_some()) {
        return None;
    }
    let error = btf::executable_layout().err()?;
    Some(format!(
        "selections ask for exe, and this host's kernel does not tell executables, for want of its \
         BTF ({error}): `sidetrack run` refuses to start here"
    ))
}

fn refusal(errors: &ConfigErrors) -> Value {
    json!({ "ok": false, "path": errors.path, "errors": errors.errors })
}
