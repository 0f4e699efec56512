//! What a run found, as it is kept: JSON that everything shown can be computed from again.

use std::{fs, path::Path, time::Duration};

use hdrhistogram::{Histogram, iterators::IterationValue};
use serde::{Deserialize, Serialize};

use crate::{
    Trouble,
    case::Merit,
    load::Load,
    path::{Kind, Spec},
    plan::Profile,
    run::Slice,
    statistics::{self, Figure},
};

pub mod html;
pub mod machine;
#[cfg(test)]
pub(crate) mod made_up;
pub(crate) mod number;
mod plot;
mod sections;
pub mod table;

pub use machine::Machine;

/// What the JSON says of its own form. The number grows when a reader of the form before could not read it.
pub const SCHEMA: &str = "sidetrack-bench/1";

/// All that one run found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where it was measured.
    pub machine: Machine,
    /// How much was.
    pub profile: Profile,
    /// The command as it was typed.
    pub command: String,
    /// How long the run took.
    pub took: Duration,
    /// What was measured.
    pub cases: Vec<Answer>,
}

/// A case with what came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Answer {
    /// The case's name.
    pub name: String,
    /// What it means.
    pub about: String,
    /// What was done in each slice.
    pub load: Load,
    /// What is looked at, the most telling one first.
    pub merits: Vec<Merit>,
    /// Its paths, side by side.
    pub columns: Vec<Column>,
}

/// A path in a case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Column {
    /// Which.
    pub path: Spec,
    /// Its slices, one for each round that counts.
    pub rounds: Vec<Slice>,
    /// All rounds' operations together: how many took so many nanoseconds, to three digits.
    pub latencies: Vec<Bucket>,
    /// Why there are fewer rounds than there should be, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// What is shown of it, for readers of the JSON. It is computed from the rounds.
    #[serde(default)]
    pub figures: Vec<Shown>,
}

/// Operations that took the same time, as near as three digits tell.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Bucket(
    /// Nanoseconds, the middle of what is told apart.
    pub u64,
    /// How many.
    pub u64,
);

/// Why a path ended before its time.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// In words, with what helps.
    pub why: String,
    /// This host lacks something that the path needs.
    pub missing: bool,
}

impl Ended {
    /// By what went wrong.
    pub fn by(trouble: &Trouble) -> Self {
        Self {
            why: trouble.to_string(),
            missing: trouble.is_missing(),
        }
    }
}

/// A merit of a path, and its ratio to the first path of the case that has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Shown {
    /// Which merit.
    pub merit: Merit,
    /// Seconds, operations or bits in a second, CPU seconds, bytes.
    pub figure: Figure,
    /// It is of all rounds together, since a single one has too few operations for it.
    #[serde(default)]
    pub pooled: bool,
    /// To that of the first path in the same round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Figure>,
}

impl Column {
    /// Without any round yet.
    pub fn new(path: Spec) -> Self {
        Self {
            path,
            rounds: Vec::new(),
            latencies: Vec::new(),
            ended: None,
            figures: Vec::new(),
        }
    }

    /// Keeps the operations of all rounds, pooled by whoever made them.
    pub fn keep(&mut self, pooled: &Histogram<u64>) {
        let buckets = pooled.iter_recorded();
        let bucket = |value: IterationValue<u64>| {
            Bucket(
                pooled.median_equivalent(value.value_iterated_to()),
                value.count_at_value(),
            )
        };
        self.latencies = buckets.map(bucket).collect();
    }

    /// All operations of all rounds.
    pub fn pooled(&self) -> Histogram<u64> {
        let mut pooled = statistics::histogram();
        for Bucket(nanos, count) in &self.latencies {
            // It grows as it needs to: no count and no time is out of range.
            let _ = pooled.record_n(*nanos, *count);
        }
        pooled
    }
}

impl Answer {
    /// What the others are compared with: the first path that was measured and has this merit.
    pub fn base(&self, merit: Merit) -> Option<&Column> {
        let mut measured = self.measured();
        measured.find(|column| statistics::figure(merit, &column.rounds).is_some())
    }

    /// The path of this kind, by the build that measures.
    pub fn column(&self, kind: Kind) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.path.kind == kind && column.path.build.is_none())
    }

    /// Columns with at least one round.
    pub fn measured(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| !column.rounds.is_empty())
    }

    fn figures(&self, column: &Column) -> Vec<Shown> {
        let shown = |merit: &Merit| {
            let of_rounds = statistics::figure(*merit, &column.rounds);
            let of_all = || statistics::pooled(*merit, &column.pooled(), column.rounds.len());
            let base = self.base(*merit).filter(|base| base.path != column.path);
            Some(Shown {
                merit: *merit,
                pooled: of_rounds.is_none(),
                figure: of_rounds.or_else(of_all)?,
                ratio: base
                    .and_then(|base| statistics::ratio(*merit, &column.rounds, &base.rounds)),
            })
        };
        self.merits.iter().filter_map(shown).collect()
    }
}

impl Report {
    /// Puts what is shown beside what it is computed from.
    #[must_use]
    pub fn with_figures(mut self) -> Self {
        for answer in &mut self.cases {
            let figures: Vec<_> = answer
                .columns
                .iter()
                .map(|column| answer.figures(column))
                .collect();
            for (column, figures) in answer.columns.iter_mut().zip(figures) {
                column.figures = figures;
            }
        }
        self
    }

    /// The case of this name.
    pub fn case(&self, name: &str) -> Option<&Answer> {
        self.cases.iter().find(|answer| answer.name == name)
    }

    /// Reads what an earlier run wrote.
    ///
    /// # Errors
    /// There is no such file, or it has another form.
    pub fn read(path: &Path) -> Result<Self, Trouble> {
        let doing = || format!("reading the report {}", path.display());
        let text = fs::read(path).map_err(|error| {
            Trouble::new(doing(), error).fix("name the report.json of an earlier run")
        })?;
        let form: Form = serde_json::from_slice(&text).map_err(|error| {
            Trouble::new(doing(), error)
                .fix("name the report.json that an earlier run wrote, not its HTML")
        })?;
        if form.schema != SCHEMA {
            return Err(Trouble::new(
                doing(),
                format!("its form is {}, and only {SCHEMA} is read", form.schema),
            )
            .fix("measure both with one build of sidetrack (--build measures another beside it)"));
        }
        let report: Self = serde_json::from_slice(&text).map_err(|error| {
            Trouble::new(doing(), error).fix("it is not as it was written; measure again")
        })?;
        Ok(report.with_figures())
    }

    /// Writes it for programs.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Trouble> {
        let doing = || format!("writing the report {}", path.display());
        let text = serde_json::to_vec(self).map_err(|error| Trouble::new(doing(), error))?;
        fs::write(path, text).map_err(|error| Trouble::new(doing(), error))
    }
}

/// What every form of the report has.
#[derive(Deserialize)]
struct Form {
    schema: String,
}

#[cfg(test)]
mod tests;
