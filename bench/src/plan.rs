//! Which cases are measured, for how long and how often.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Trouble,
    case::Case,
    load::Load,
    path::{Kind, Spec},
};

mod cases;
mod size;

/// How much is measured.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// That every path and every kind of case is alive; its figures mean nothing.
    Smoke,
    /// A user's own host in some minutes: the four paths that need no other software than iptables.
    Quick,
    /// Everything, peers included.
    Full,
}

/// A word that names no profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no profile has this name: smoke, quick or full")]
pub struct UnknownProfile;

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Smoke, Self::Quick, Self::Full];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let named = Self::ALL.into_iter().find(|profile| profile.name() == text);
        named.ok_or(UnknownProfile)
    }
}

/// A case, and how often it is asked.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The case.
    pub case: Case,
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before them, which are thrown away: caches, pools and sessions fill.
    pub warm_up: u32,
}

impl Planned {
    /// Whether its paths must have carried nothing before: memory that a process once had stays with it.
    pub fn wants_fresh_paths(&self) -> bool {
        matches!(self.case.load, Load::Idle { .. })
    }

    /// About how long its slices take. A guess for people who wait.
    pub fn estimate(&self) -> Duration {
        let slices =
            (self.rounds + self.warm_up) * u32::try_from(self.case.paths.len()).unwrap_or(u32::MAX);
        slice(&self.case.load) * slices
    }
}

/// About how long a slice takes, with what is between slices.
pub(crate) fn slice(load: &Load) -> Duration {
    let micros = |each: u64, count: u32| Duration::from_micros(each * u64::from(count));
    let millis = |millis: u32| Duration::from_millis(u64::from(millis));
    let work = match load {
        Load::Connect { count } => micros(60, *count),
        Load::FirstByte { count } => micros(400, *count),
        Load::RoundTrip { count, .. } => micros(100, *count),
        Load::Requests { millis: length, .. }
        | Load::Rate { millis: length, .. }
        | Load::Bulk { millis: length, .. }
        | Load::Handshake { millis: length, .. } => millis(*length),
        Load::Idle { connections } => micros(800, *connections),
    };
    work + Duration::from_millis(30)
}

/// How long a path takes to be set up, with its processes and their certificates.
pub(crate) const SET_UP: Duration = Duration::from_millis(700);

/// All that one run measures, in this order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was made from.
    pub profile: Profile,
    /// The cases.
    pub cases: Vec<Planned>,
}

impl Plan {
    /// What `profile` measures of the paths that are `wanted`; without any wish, of its own.
    ///
    /// # Errors
    /// No case has any of them.
    pub fn new(profile: Profile, wanted: &[Kind]) -> Result<Self, Trouble> {
        let cases = cases::of(profile, wanted);
        if cases.is_empty() {
            let asked: Vec<&str> = wanted.iter().map(|kind| kind.name()).collect();
            return Err(Trouble::new(
                format!("choosing the paths {}", asked.join(", ")),
                format!("no case of the profile {profile} has them"),
            )
            .fix("choose other paths or another profile"));
        }
        Ok(Self { profile, cases })
    }

    /// Only the cases that `names` name, exactly or by what stands before a dash.
    ///
    /// # Errors
    /// One of the names is of none.
    pub fn only_cases(mut self, names: &[String]) -> Result<Self, Trouble> {
        let is = |planned: &Planned, name: &str| {
            let rest = planned.case.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        for name in names {
            if !self.cases.iter().any(|planned| is(planned, name)) {
                let all: Vec<&str> = self.cases.iter().map(|p| p.case.name.as_str()).collect();
                return Err(Trouble::new(
                    format!("choosing the case \"{name}\""),
                    format!("the profile {} has none of this name", self.profile),
                )
                .fix(format!("one of: {}", all.join(", "))));
            }
        }
        if !names.is_empty() {
            self.cases
                .retain(|planned| names.iter().any(|name| is(planned, name)));
        }
        Ok(self)
    }

    /// So many rounds of each case.
    #[must_use]
    pub fn with_rounds(mut self, rounds: Option<u32>) -> Self {
        if let Some(rounds) = rounds {
            for planned in &mut self.cases {
                planned.rounds = rounds.max(1);
            }
        }
        self
    }

    /// Every path of ours by each of `builds` too, beside the one of the build that measures.
    #[must_use]
    pub fn with_builds(mut self, builds: &[PathBuf]) -> Self {
        for planned in &mut self.cases {
            let paths = std::mem::take(&mut planned.case.paths);
            for spec in paths {
                let others = builds.iter().filter(|_| spec.kind.runs_sidetrack());
                let others: Vec<Spec> = others
                    .map(|build| Spec {
                        build: Some(build.clone()),
                        ..spec.clone()
                    })
                    .collect();
                planned.case.paths.push(spec);
                planned.case.paths.extend(others);
            }
        }
        self
    }

    /// About how long it takes.
    pub fn estimate(&self) -> Duration {
        let mut kept: &[Spec] = &[];
        let mut sum = Duration::ZERO;
        for planned in &self.cases {
            let fresh = planned.wants_fresh_paths();
            let new = planned
                .case
                .paths
                .iter()
                .filter(|spec| fresh || !kept.contains(spec));
            sum += SET_UP * u32::try_from(new.count()).unwrap_or(u32::MAX) + planned.estimate();
            kept = if fresh { &[] } else { &planned.case.paths };
        }
        sum
    }
}

#[cfg(test)]
mod tests;
