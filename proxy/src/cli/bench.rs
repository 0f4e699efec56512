//! `sidetrack bench`: the latency that interception and mTLS add on this host.

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;
use nix::unistd::geteuid;
use sidetrack_bench::{
    Trouble, agent,
    bench::{self, Options, Outcome},
    path::{self, Kind},
    plan::{Plan, Profile},
    run::progress::Line,
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
#[command(after_help = "Examples:\n  sidetrack bench\n  \
                  sidetrack bench --profile full --out report\n  \
                  sidetrack bench --case first-byte --path direct --path mtls --compare report/report.json\n\n\
                  Everything runs in network namespaces and cgroups of its own, which are gone afterwards; \
                  a daemon of this host is left alone. Needs root. On a machine that does other work, \
                  the figures are that work's too.")]
pub struct BenchArgs {
    /// How much is measured: "smoke" (seconds, figures without meaning), "quick" or "full".
    #[arg(long, value_name = "PROFILE", default_value = "quick")]
    pub profile: Profile,
    /// Only this case; may be repeated. Default: all of the profile.
    #[arg(long = "case", value_name = "NAME")]
    pub cases: Vec<String>,
    /// Only this path; may be repeated. Default: direct, redirected, mtls, and iptables-relay where
    /// iptables is there.
    #[arg(long = "path", value_name = "NAME")]
    pub paths: Vec<Kind>,
    /// Every path, those with proxies of other make among them.
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
        return Err(Failure::new(
            Exit::Missing,
            "measuring takes root: each path stands in network namespaces and cgroups of its own",
        )
        .fix("run it as root; all of it is removed again"));
    }
    let (json, asked) = (args.json, !args.paths.is_empty());
    let options = options(args)?;
    let mut line = Line::new(io::stderr(), io::stderr().is_terminal());
    let outcome = bench::run(&options, &mut |progress| {
        // Nobody reads it: the figures are wanted all the same.
        let _ = line.show(&progress);
    });
    let _ = line.end();
    let outcome = outcome.map_err(failure)?;
    if json {
        print_json(&outcome.report)?;
    } else {
        print(&outcome.to_string())?;
    }
    Ok(exit(&outcome, asked))
}

fn options(args: BenchArgs) -> Result<Options, Failure> {
    let program = env::current_exe().map_err(|error| {
        Failure::new(Exit::Failed, "finding the path of this program").because(&error)
    })?;
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    Ok(Options {
        profile: args.profile,
        cases: args.cases,
        paths: paths(args.paths, args.peers),
        rounds: args.rounds,
        out: args.out,
        compare: args.compare,
        also: args.also,
        program,
        command: words.collect::<Vec<_>>().join(" "),
    })
}

/// A path that failed is a failure; one that this host lacks something for is one if it was asked for.
fn exit(outcome: &Outcome, asked: bool) -> Exit {
    let columns = outcome.report.cases.iter().flat_map(|case| &case.columns);
    let mut exit = Exit::Done;
    for ended in columns.filter_map(|column| column.ended.as_ref()) {
        match ended.missing {
            false => return Exit::Failed,
            true if asked => exit = Exit::Missing,
            true => {}
        }
    }
    exit
}

/// Plays a part at one end of a path.
///
/// # Errors
/// What the part could not do.
pub fn agent(args: &BenchAgentArgs) -> Result<Exit, Failure> {
    agent::main(&args.words).map_err(failure)?;
    Ok(Exit::Done)
}

/// What was asked for; else of what a user asks whatever can be set up here.
fn paths(asked: Vec<Kind>, peers: bool) -> Vec<Kind> {
    match (asked.is_empty(), peers) {
        (false, _) => asked,
        (true, true) => Kind::ALL.to_vec(),
        (true, false) => {
            let of_a_user = OF_A_USER.into_iter();
            let here = of_a_user.filter(|kind| path::available(*kind).is_ok());
            here.collect()
        }
    }
}

fn list(profile: Profile) -> Result<Exit, Failure> {
    let plan = Plan::new(profile, &Kind::ALL).map_err(failure)?;
    let cases = plan.cases.into_iter().map(|planned| planned.case);
    let cases: Vec<_> = cases.map(|case| vec![case.name, case.about]).collect();
    let paths: Vec<_> = Kind::ALL.into_iter().map(row).collect();
    print(&format!(
        "{}\n{}",
        table(&["CASE", "WHAT IS MEASURED"], &cases),
        table(&["PATH", "HOW BYTES GO", "MISSING HERE"], &paths)
    ))?;
    Ok(Exit::Done)
}

fn row(kind: Kind) -> Vec<String> {
    let missing = path::available(kind).err();
    let missing = missing.map_or_else(String::new, |trouble| {
        trouble.to_string().replace("\n  fix: ", "; ")
    });
    vec![kind.name().into(), kind.about().into(), missing]
}

fn failure(trouble: Trouble) -> Failure {
    let exit = match trouble.is_missing() {
        true => Exit::Missing,
        false => Exit::Failed,
    };
    Failure::new(exit, trouble.to_string())
}
