//! `sidetrack certs`: a small CA for people without one.

use std::{
    io::{self, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::{
    certs::{
        authority::{Authority, LeafRequest},
        files::{self, Existing},
        profiles,
        show::{self, Verified},
        validity::Validity,
    },
    identity::{Expected, SpiffeId, TrustDomain},
};

const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;

/// Make and inspect certificates: a small CA for people without one.
#[derive(Debug, Args)]
#[command(after_help = "Example: two hosts that know each other
  sidetrack certs init --dir pki --trust-domain example.org
  sidetrack certs issue --dir pki web --spiffe spiffe://example.org/web --dns web.example.org
  sidetrack certs issue --dir pki api --spiffe spiffe://example.org/api --ip 10.1.0.5
  sidetrack certs show pki/web.crt --ca pki/ca.crt")]
pub struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority: ca.crt and ca.key.
    #[command(after_help = "Example:
  sidetrack certs init --dir pki --trust-domain example.org")]
    Init(Init),
    /// Issue a certificate: NAME.crt and NAME.key.
    #[command(after_help = "Example:
  sidetrack certs issue --dir pki web --spiffe spiffe://example.org/web --dns web.example.org")]
    Issue(Issue),
    /// Show who certificates name and how long they are valid; exits 1 if --ca does not verify one.
    #[command(after_help = "Example:
  sidetrack certs show pki/*.crt --ca pki/ca.crt")]
    Show(Show),
    /// Write the certificates of a profiles file: for development and tests.
    #[command(
        hide = true,
        after_help = "Example:
  sidetrack certs dev --profiles certs/profiles.toml --dir certs/dev"
    )]
    Dev(Dev),
}

#[derive(Debug, Args)]
struct Init {
    /// Folder to write into; made if it is missing.
    #[arg(long)]
    dir: PathBuf,
    /// Trust domain that the authority is for; it issues SPIFFE IDs of this one only.
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<TrustDomain>,
    /// Common name of the authority.
    #[arg(long, value_name = "CN")]
    name: Option<String>,
    /// Days until it expires.
    #[arg(long, default_value_t = 3650)]
    days: u32,
    /// Replace an authority that is there. What it issued is then no longer trusted.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Issue {
    /// Name of the files, and common name of the certificate.
    name: String,
    /// Folder of the authority, which is written into.
    #[arg(long)]
    dir: PathBuf,
    /// SPIFFE ID; a certificate has at most one.
    #[arg(long, value_name = "ID")]
    spiffe: Option<SpiffeId>,
    /// DNS name; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = dns_name)]
    dns: Vec<String>,
    /// IP address; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// Days until it expires; 365 if neither --days nor --hours is given.
    #[arg(long)]
    days: Option<u32>,
    /// Hours until it expires, added to --days.
    #[arg(long)]
    hours: Option<u32>,
    /// Replace a certificate and key that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// PEM files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// PEM file of an authority: also tell whether it vouches for them.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Dev {
    /// What to make.
    #[arg(long, value_name = "FILE")]
    profiles: PathBuf,
    /// Folder to write into.
    #[arg(long)]
    dir: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    force: bool,
}

/// Does what was asked, and prints what was written and what to do next.
///
/// # Errors
/// What could not be done, with the fix.
pub fn run(args: &CertsArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match &args.command {
        Command::Init(args) => init(args, &mut out),
        Command::Issue(args) => issue(args, &mut out),
        Command::Show(args) => show(args, &mut out),
        Command::Dev(args) => dev(args, &mut out),
    }
}

fn init(args: &Init, out: &mut dyn Write) -> anyhow::Result<()> {
    let dir = &args.dir;
    let existing = Existing::from(args.force);
    let (certificate, key) = pair(dir, "ca");
    if existing == Existing::Keep {
        files::none_exists(&[certificate.clone(), key.clone()])?;
    }
    let name = match (&args.name, &args.trust_domain) {
        (Some(name), _) => name.clone(),
        (None, Some(domain)) => format!("{domain} CA"),
        (None, None) => "Sidetrack CA".to_owned(),
    };
    let validity = Validity::starting_now(Duration::from_secs(u64::from(args.days) * DAY))?;
    files::make_folder(dir)?;
    Authority::create(&name, args.trust_domain.clone(), validity)?.write(
        &certificate,
        &key,
        existing,
    )?;
    let domain = args
        .trust_domain
        .as_ref()
        .map_or("example.org", TrustDomain::as_str);
    writeln!(
        out,
        "Wrote {} (give it to every host) and {} (keep it here, secret).

Next: issue a certificate for each workload,
  sidetrack certs issue --dir {} web --spiffe spiffe://{domain}/web
and trust this authority in each host's configuration,
  [trust.\"{domain}\"]
  bundle = \"ca.crt\"",
        certificate.display(),
        key.display(),
        dir.display(),
    )?;
    Ok(())
}

fn issue(args: &Issue, out: &mut dyn Write) -> anyhow::Result<()> {
    let Issue { name, dir, .. } = args;
    if !is_file_stem(name) || name == "ca" {
        bail!(
            "NAME {name:?} becomes a file name: use letters, digits, '.', '-' and '_', begin with \
             a letter or digit, and not \"ca\", which is the authority"
        );
    }
    if args.spiffe.is_none() && args.dns.is_empty() && args.ip.is_empty() {
        bail!(
            "a certificate without names proves nothing: give --spiffe, --dns or --ip, for \
             example --spiffe spiffe://example.org/{name}"
        );
    }
    let (ca, ca_key) = pair(dir, "ca");
    let authority = Authority::open(&ca, &ca_key).with_context(|| {
        format!(
            "opening the authority in {} (make one: sidetrack certs init --dir {})",
            dir.display(),
            dir.display()
        )
    })?;
    if let (Some(id), Some(domain)) = (&args.spiffe, authority.trust_domain())
        && id.trust_domain() != domain
    {
        bail!(
            "{id} is not of the trust domain {domain}, for which {} is the authority: no peer \
             would accept it; use spiffe://{domain}/{name}, or another authority",
            ca.display()
        );
    }
    let (certificate, key) = pair(dir, name);
    let existing = Existing::from(args.force);
    if existing == Existing::Keep {
        files::none_exists(&[certificate.clone(), key.clone()])?;
    }
    let lifetime = match (args.days, args.hours) {
        (None, None) => 365 * DAY,
        (days, hours) => u64::from(days.unwrap_or(0)) * DAY + u64::from(hours.unwrap_or(0)) * HOUR,
    };
    authority
        .issue(&LeafRequest {
            name: name.clone(),
            spiffe: args.spiffe.iter().cloned().collect(),
            dns: args.dns.clone(),
            ips: args.ip.clone(),
            validity: Validity::starting_now(Duration::from_secs(lifetime))?,
        })?
        .write(&certificate, &key, existing)?;
    writeln!(
        out,
        "Wrote {} and {} (secret).

Next: copy both and {} to the host, and name them in its configuration,
  [identity.{name}]
  certificate = \"{name}.crt\"
  private_key = \"{name}.key\"",
        certificate.display(),
        key.display(),
        ca.display(),
    )?;
    Ok(())
}

fn show(args: &Show, out: &mut dyn Write) -> anyhow::Result<()> {
    let authorities = args.ca.as_deref().map(show::authorities).transpose()?;
    let mut all = Vec::new();
    for file in &args.files {
        all.extend(show::show(file, authorities.as_ref())?);
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        for shown in &all {
            writeln!(out, "{} ({})\n{shown}", shown.file, shown.position)?;
        }
    }
    let refused = all
        .iter()
        .filter(|shown| matches!(shown.verified, Some(Verified::No(_))))
        .count();
    if refused > 0 {
        bail!(
            "{refused} of {} certificates do not verify against --ca",
            all.len()
        );
    }
    Ok(())
}

fn dev(args: &Dev, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = files::read_text(&args.profiles)?;
    let written = profiles::write(&text, &args.dir, Existing::from(args.force))?;
    writeln!(
        out,
        "Wrote {} files into {}; never use them outside of tests.",
        written.len(),
        args.dir.display()
    )?;
    Ok(())
}

fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    )
}

/// A name that a rule could expect.
fn dns_name(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(Expected::Dns(name)) => Ok(name),
        Ok(_) => Err("it is not a DNS name".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn is_file_stem(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests;
