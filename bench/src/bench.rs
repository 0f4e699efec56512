//! A whole run: from what was asked for to the files that show it.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    Trouble,
    compare::{self, Comparison},
    load::Load,
    measured::Measured,
    path::{self, Kind, Ready, Spec},
    plan::{Plan, Profile},
    report::{self, Machine, Report},
    run::{self, Ground, Progress, Subject},
    stage::Room,
};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is measured.
    pub profile: Profile,
    /// Only cases that have one of these names, or whose name begins with one and a dash. Empty: all.
    pub cases: Vec<String>,
    /// Only paths of these kinds, be they the profile's or not. Empty: the profile's.
    pub paths: Vec<Kind>,
    /// So many rounds of each case, in place of the profile's.
    pub rounds: Option<u32>,
    /// The folder for `report.json` and `report.html`, made if it is not there.
    pub out: Option<PathBuf>,
    /// An older `report.json` to be compared with.
    pub compare: Option<PathBuf>,
    /// Other builds of `sidetrack`, each measured beside the first on every path of ours.
    pub also: Vec<PathBuf>,
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
    /// Where it was written, for programs and for people.
    pub files: Option<Files>,
    /// What moved, if that was asked for.
    pub comparison: Option<Comparison>,
}

/// The files of a report.
#[derive(Clone, Debug)]
pub struct Files {
    /// For programs.
    pub json: PathBuf,
    /// For people.
    pub html: PathBuf,
}

impl Files {
    fn in_folder(folder: &Path) -> Result<Self, Trouble> {
        fs::create_dir_all(folder).map_err(|error| {
            Trouble::new(
                format!("making the folder {} for the report", folder.display()),
                error,
            )
            .fix("name a folder that can be written, with --out")
        })?;
        Ok(Self {
            json: folder.join("report.json"),
            html: folder.join("report.html"),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report.table())?;
        if let Some(comparison) = &self.comparison {
            write!(f, "\n{}", comparison.table())?;
        }
        match &self.files {
            Some(files) => write!(
                f,
                "\nWritten: {} and {}\n",
                files.html.display(),
                files.json.display()
            ),
            None => Ok(()),
        }
    }
}

/// Measures, and writes the report.
///
/// # Errors
/// The options name what there is not, the host cannot make what every path stands on, or the report cannot be written. A path that fails ends
/// its own column only.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, Trouble> {
    let then = options.compare.as_deref().map(Report::read).transpose()?;
    let plan = plan(options)?;
    let files = options.out.as_deref().map(Files::in_folder).transpose()?;
    let builds = std::iter::once(&options.program).chain(&options.also);
    let machine = Machine::of_this_host(builds.map(PathBuf::as_path));
    let mut room = Room::open(options.program.clone())?;
    room.undo_on_interrupt()?;
    let began = Instant::now();
    let cases = run::measure(&plan, &mut room, progress);
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
    if let Some(files) = &files {
        report.write(&files.json)?;
        report.write_html(comparison.as_ref(), &files.html)?;
    }
    Ok(Outcome {
        report,
        files,
        comparison,
    })
}

/// What `options` ask for, in order. Its estimate is there before anything is measured.
///
/// # Errors
/// They name a case or a path that there is not.
pub fn plan(options: &Options) -> Result<Plan, Trouble> {
    Ok(Plan::new(options.profile, &options.paths)?
        .only_cases(&options.cases)?
        .with_rounds(options.rounds)
        .with_builds(&options.also))
}

impl Ground for Room {
    type Subject = Ready;

    fn set_up(&mut self, spec: &Spec) -> Result<Ready, Trouble> {
        path::set_up(spec, self)
    }
}

impl Subject for Ready {
    fn run(&mut self, load: &Load) -> Result<Measured, Trouble> {
        Self::run(self, load)
    }
}
