//! `sidetrack bench`: the latency that interception and mTLS add on this host.

use std::{env, ffi::OsString, io::Write as _, path::PathBuf};

use clap::Args;
use nix::unistd::geteuid;
use sidetrack_bench::{
    Trouble, agent,
    bench::{self, Options},
    path::{self, Kind},
    plan::{self, Profile},
};

use super::{Exit, Failure, print, print_json, table};

/// What a user's question is about: the way past, and the ways through.
const OF_A_USER: [Kind; 4] = [
    Kind::Direct,
    Kind::Redirected,
    Kind::Mtls,
    Kind::IptablesRelay,
];

/// Arguments of `bench`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack bench\n  \
                  sidetrack bench --profile full --out report\n  \
                  sidetrack bench --case first-byte --path direct --path mtls --compare report/report.json\n\n\
                  Everything runs in network namespaces and cgroups of its own, which are gone afterwards; \
                  a daemon of this host is\nleft alone. Needs root. On a machine that does other work, \
                  the figures are that work's too."
)]
pub struct BenchArgs {
    /// How much is measured: "smoke" (seconds, figures without meaning), "quick" or "full".
    #[arg(long, value_name = "PROFILE", default_value = "quick", value_parser = profile)]
    pub profile: Profile,
    /// Only this case; may be repeated. Default: all of the profile.
    #[arg(long = "case", value_name = "NAME")]
    pub cases: Vec<String>,
    /// Only this path; may be repeated. Default: direct, redirected, mtls, and iptables-relay if
    /// iptables is there.
    #[arg(long = "path", value_name = "NAME")]
    pub paths: Vec<Kind>,
    /// Every path that can be set up here, proxies of other make among them.
    #[arg(long, conflicts_with = "paths")]
    pub peers: bool,
    /// How many times each path has its turn. Default: as the profile says.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Write report.json and report.html to this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Show what has moved since this report.json.
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Another build of sidetrack, measured in the same rounds; may be repeated.
    #[arg(long, value_name = "PROGRAM")]
    pub also: Vec<PathBuf>,
    /// List the cases and the paths, with what is missing for each.
    #[arg(long)]
    pub list: bool,
}

/// Arguments of the hidden agent.
#[derive(Args, Clone, Debug)]
pub struct BenchAgentArgs {
    /// Its role, and what goes with it.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORD"
    )]
    pub words: Vec<OsString>,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// [`Exit::Missing`] without root, or without what a path needs that was asked for.
pub fn run(args: BenchArgs) -> Result<Exit, Failure> {
    if args.list {
        return list(args.profile);
    }
    if !geteuid().is_root() {
        return Err(Failure::new(Exit::Missing, "measuring")
            .because(&Trouble::missing("bench", "it takes root"))
            .fix("run it as root: it makes network namespaces and cgroups, and removes them again"));
    }
    let program = env::current_exe().map_err(|error| {
        Failure::new(Exit::Failed, "finding the path of this program").because(&error)
    })?;
    let options = Options {
        profile: args.profile,
        cases: args.cases,
        paths: paths(args.paths, args.peers),
        rounds: args.rounds,
        out: args.out,
        compare: args.compare,
        also: args.also,
        program,
    };
    let report = bench::run(&options, &mut |line: &str| {
        // Nobody reads it: the figures are still wanted.
        let _ = writeln!(std::io::stderr(), "{line}");
    })
    .map_err(failure)?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(Exit::Done)
}

/// Plays a part at one end of a path.
///
/// # Errors
/// What the part could not do.
pub fn agent(args: &BenchAgentArgs) -> Result<Exit, Failure> {
    agent::main(&args.words).map_err(failure)?;
    Ok(Exit::Done)
}

/// What was asked for must be there; of what was not, whatever is there.
fn paths(asked: Vec<Kind>, peers: bool) -> Vec<Kind> {
    if !asked.is_empty() {
        return asked;
    }
    let all: &[Kind] = if peers { &Kind::ALL } else { &OF_A_USER };
    let here = all.iter().filter(|kind| path::available(**kind).is_ok());
    here.copied().collect()
}

fn list(profile: Profile) -> Result<Exit, Failure> {
    let cases: Vec<Vec<String>> = plan::cases(profile, &Kind::ALL)
        .into_iter()
        .map(|case| vec![case.name, case.about])
        .collect();
    let paths: Vec<Vec<String>> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let missing = path::available(kind).err();
            let missing = missing.map_or_else(String::new, |trouble| trouble.to_string());
            vec![kind.name().into(), kind.about().into(), missing]
        })
        .collect();
    print(&format!(
        "{}\n{}",
        table(&["CASE", "WHAT IS MEASURED"], &cases),
        table(&["PATH", "HOW BYTES GO", "MISSING HERE"], &paths)
    ))?;
    Ok(Exit::Done)
}

fn failure(trouble: Trouble) -> Failure {
    let exit = match trouble.is_missing() {
        true => Exit::Missing,
        false => Exit::Failed,
    };
    Failure::new(exit, trouble.to_string())
}

fn profile(text: &str) -> Result<Profile, String> {
    let all = [Profile::Smoke, Profile::Quick, Profile::Full];
    let named = all.into_iter().find(|profile| profile.name() == text);
    named.ok_or_else(|| "it is \"smoke\", \"quick\" or \"full\"".into())
}
