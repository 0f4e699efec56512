//! A whole run: from what was asked for to the files that show it.

use std::{fs, path::PathBuf, time::Instant};

use crate::{
    Trouble,
    compare::{self, Comparison},
    path::Kind,
    plan::{Plan, Profile},
    report::{self, Machine, Report},
    run::{self, Progress},
};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is measured.
    pub profile: Profile,
    /// Only cases that have one of these names, or whose name begins with one and a dash. Empty: all.
    pub cases: Vec<String>,
    /// Only paths of these kinds. Empty: all of the profile.
    pub paths: Vec<Kind>,
    /// So many rounds of each case, in place of the profile's.
    pub rounds: Option<u32>,
    /// The folder for `report.json` and `report.html`; made if it is not there.
    pub out: PathBuf,
    /// An older `report.json` to be compared with.
    pub compare: Option<PathBuf>,
    /// Other builds of `sidetrack`, each measured beside the first on every path of ours.
    pub builds: Vec<PathBuf>,
    /// The `sidetrack` that is measured, which also plays the agents.
    pub program: PathBuf,
    /// The command as it was typed, for the report.
    pub command: String,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub report: Report,
    /// Where it is for programs.
    pub json: PathBuf,
    /// Where it is for people.
    pub html: PathBuf,
    /// What moved, if that was asked for.
    pub comparison: Option<Comparison>,
}

/// Measures, and writes the report.
///
/// # Errors
/// The options name what there is not, the host cannot make what every path stands on, or the report cannot be written. A path that fails ends
/// its own column only.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, Trouble> {
    let then = options.compare.as_deref().map(Report::read).transpose()?;
    let plan = plan(options)?;
    fs::create_dir_all(&options.out).map_err(|error| {
        Trouble::new(
            format!("making the folder {} for the report", options.out.display()),
            error,
        )
        .fix("name a folder that can be written, with --out")
    })?;
    let builds = std::iter::once(&options.program).chain(&options.builds);
    let machine = Machine::of_this_host(builds.map(PathBuf::as_path));
    let began = Instant::now();
    let cases = run::measure(&plan, &mut Nowhere, progress);
    let report = Report {
        schema: report::SCHEMA.to_owned(),
        machine,
        profile: options.profile,
        command: options.command.clone(),
        took: began.elapsed(),
        cases,
    }
    .with_figures();
    let comparison = then.map(|then| compare::compare(&then, &report));
    let json = options.out.join("report.json");
    let html = options.out.join("report.html");
    report.write(&json)?;
    report.write_html(comparison.as_ref(), &html)?;
    Ok(Outcome {
        report,
        json,
        html,
        comparison,
    })
}

/// What `options` ask for, in order. Its estimate is there before anything is measured.
///
/// # Errors
/// They name a case or a path that there is not.
pub fn plan(options: &Options) -> Result<Plan, Trouble> {
    Ok(Plan::new(options.profile)
        .only_cases(&options.cases)?
        .only_paths(&options.paths)?
        .with_rounds(options.rounds)
        .with_builds(&options.builds))
}

struct Nowhere;
struct Nothing;
impl run::Ground for Nowhere {
    type Subject = Nothing;
    fn set_up(&mut self, _: &crate::path::Spec) -> Result<Nothing, Trouble> {
        Err(Trouble::new("setting up", "not there yet"))
    }
}
impl run::Subject for Nothing {
    fn run(&mut self, _: &crate::load::Load) -> Result<crate::measured::Measured, Trouble> {
        Err(Trouble::new("running", "not there yet"))
    }
}
