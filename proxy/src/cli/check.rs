//! `sidetrack check`: validates a configuration, prints every error.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Failure, print, print_json, table};
use crate::{
    config::{
        Config, ConfigErrors, InboundRule, OutboundAction, OutboundRule, Wire, display_ports, file,
    },
    kernel::btf,
    tls::material::Material,
};

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
                print_json(&describe(&config))?;
            } else {
                print(&summary(&config))?;
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

fn describe(config: &Config) -> Value {
    let outbound = |rule: &&OutboundRule| {
        json!({
            "name": rule.name,
            "select": rule.select,
            "to": rule.to,
            "ports": display_ports(&rule.ports),
            "action": action(rule),
        })
    };
    let inbound = |rule: &InboundRule| {
        json!({
            "name": rule.name,
            "select": rule.select,
            "ports": display_ports(&rule.ports),
            "accept": accept(rule),
            "allow": rule.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    json!({
        "ok": true,
        "path": config.path,
        "warnings": config.warnings,
        "outbound": in_decision_order(config).iter().map(outbound).collect::<Vec<_>>(),
        "inbound": config.inbound.iter().map(inbound).collect::<Vec<_>>(),
    })
}

fn summary(config: &Config) -> String {
    let mut text = format!(
        "{}: OK, {} outbound and {} inbound rules\n",
        config.path.display(),
        config.outbound.len(),
        config.inbound.len()
    );
    if !config.outbound.is_empty() {
        text += "\nOutbound, the longest prefix of all rules decides:\n";
        let rows: Vec<_> = in_decision_order(config)
            .into_iter()
            .map(outbound_row)
            .collect();
        text += &table(
            &["RULE", "SELECT", "TO", "PORTS", "ACTION", "EXPECT"],
            &rows,
        );
    }
    if !config.inbound.is_empty() {
        text += "\nInbound:\n";
        let rows: Vec<_> = config.inbound.iter().map(inbound_row).collect();
        text += &table(&["RULE", "SELECT", "PORTS", "ACCEPT", "ALLOW"], &rows);
    }
    for warning in &config.warnings {
        text += &format!("\nwarning: {warning}\n");
    }
    text
}

/// By the longest prefix of each rule, a selection before none: as near as a list comes to
/// what the kernel's longest-prefix lookup does.
fn in_decision_order(config: &Config) -> Vec<&OutboundRule> {
    let longest = |rule: &OutboundRule| rule.to.iter().map(ipnet::IpNet::prefix_len).max();
    let mut rules: Vec<_> = config.outbound.iter().collect();
    rules.sort_by_key(|rule| (std::cmp::Reverse(longest(rule)), rule.select.is_none()));
    rules
}

fn outbound_row(rule: &OutboundRule) -> Vec<String> {
    let expect = match &rule.action {
        OutboundAction::Mtls(mtls) => list(&mtls.expect),
        _ => "-".into(),
    };
    vec![
        rule.name.clone(),
        rule.select.clone().unwrap_or_else(|| "everything".into()),
        list(&rule.to),
        display_ports(&rule.ports),
        action(rule),
        expect,
    ]
}

fn inbound_row(rule: &InboundRule) -> Vec<String> {
    let allow = if rule.allow.is_empty() {
        "everybody".into()
    } else {
        list(&rule.allow)
    };
    vec![
        rule.name.clone(),
        rule.select.clone().unwrap_or_else(|| "everything".into()),
        display_ports(&rule.ports),
        accept(rule).join(", "),
        allow,
    ]
}

fn action(rule: &OutboundRule) -> String {
    match &rule.action {
        OutboundAction::Mtls(mtls) => match mtls.wire {
            Wire::Tunnel => "mtls (tunnel)".into(),
            Wire::Tls => "mtls (tls)".into(),
        },
        OutboundAction::Gateway { upstream, .. } => format!("gateway ({upstream})"),
        OutboundAction::Passthrough => "passthrough".into(),
        OutboundAction::Redirect { proxy } => format!("redirect ({proxy})"),
        OutboundAction::Deny { errno } => {
            format!("deny ({:?})", nix::errno::Errno::from_raw(*errno))
        }
        OutboundAction::Ignore => "ignore".into(),
    }
}

fn accept(rule: &InboundRule) -> Vec<String> {
    let kinds = [
        (rule.accept.tunnel, "tunnel"),
        (rule.accept.mtls, "mtls"),
        (rule.accept.plain, "plain"),
    ];
    let mut accepted: Vec<_> = kinds
        .into_iter()
        .filter(|(accepted, _)| *accepted)
        .map(|(_, name)| name.to_owned())
        .collect();
    if !rule.plain_from.is_empty() {
        accepted.push(format!("plain from {}", list(&rule.plain_from)));
    }
    accepted
}

fn list(items: &[impl ToString]) -> String {
    let texts: Vec<_> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
