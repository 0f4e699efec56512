//! What must be reached, and whether it was.

use crate::{
    case::Merit,
    path::Kind,
    report::{Answer, Report, number},
    statistics::{self, Figure},
};

/// A bound on a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

impl Bound {
    /// Its value.
    pub fn value(self) -> f64 {
        match self {
            Self::AtMost(value) | Self::AtLeast(value) => value,
        }
    }
}

/// A figure that must keep a bound.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// In words, without the merit.
    pub about: &'static str,
    /// The case, by its name.
    pub case: &'static str,
    /// Whose figure.
    pub path: Kind,
    /// By whose figure of the same round it is divided. None: it is bounded as it is.
    pub against: Option<Kind>,
    /// A path whose ratio is shown beside, without a bound.
    pub beside: Option<Kind>,
    /// Which figure.
    pub merit: Merit,
    /// The bound.
    pub bound: Bound,
}

/// What came of a goal.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The whole interval keeps the bound.
    Reached(Figure),
    /// The whole interval is past the bound.
    Missed(Figure),
    /// The interval has the bound in it, or there were too few rounds for one.
    Undecided(Figure),
    /// It could not be measured, because of this.
    Unknown(String),
    /// The run was not about it.
    NotAsked,
}

impl Verdict {
    /// In a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Reached(_) => "reached",
            Self::Missed(_) => "missed",
            Self::Undecided(_) => "undecided",
            Self::Unknown(_) => "not measured",
            Self::NotAsked => "not asked",
        }
    }

    /// What was found.
    pub fn figure(&self) -> Option<Figure> {
        match self {
            Self::Reached(figure) | Self::Missed(figure) | Self::Undecided(figure) => Some(*figure),
            Self::Unknown(_) | Self::NotAsked => None,
        }
    }
}

impl Goal {
    const fn new(
        case: &'static str,
        path: Kind,
        against: Kind,
        merit: Merit,
        bound: Bound,
        about: &'static str,
    ) -> Self {
        Self {
            about,
            case,
            path,
            against: Some(against),
            beside: None,
            merit,
            bound,
        }
    }

    const fn beside(mut self, kind: Kind) -> Self {
        self.beside = Some(kind);
        self
    }

    /// Whether `report` reaches it.
    pub fn verdict(&self, report: &Report) -> Verdict {
        let Some(answer) = report.case(self.case) else {
            return Verdict::NotAsked;
        };
        let mut kinds = [Some(self.path), self.against].into_iter().flatten();
        if kinds.any(|kind| answer.column(kind).is_none()) {
            return Verdict::NotAsked;
        }
        let figure = match self.of(answer, self.path) {
            Ok(figure) => figure,
            Err(why) => return Verdict::Unknown(why),
        };
        let Some(interval) = figure.interval else {
            return Verdict::Undecided(figure);
        };
        let (keeps, breaks) = match self.bound {
            AtMost(bound) => (interval.high <= bound, interval.low > bound),
            AtLeast(bound) => (interval.low >= bound, interval.high < bound),
        };
        match (keeps, breaks) {
            (true, _) => Verdict::Reached(figure),
            (_, true) => Verdict::Missed(figure),
            _ => Verdict::Undecided(figure),
        }
    }

    /// All goals that the run is about, with what came of each.
    pub fn verdicts(report: &Report) -> Vec<(&'static Self, Verdict)> {
        let all = GOALS.iter().map(|goal| (goal, goal.verdict(report)));
        all.filter(|(_, verdict)| *verdict != Verdict::NotAsked)
            .collect()
    }

    /// What the path that is shown beside has.
    pub fn figure_beside(&self, report: &Report) -> Option<(Kind, Figure)> {
        let kind = self.beside?;
        let figure = self.of(report.case(self.case)?, kind).ok()?;
        Some((kind, figure))
    }

    /// What it is about, with the merit.
    pub fn title(&self) -> String {
        format!("{}: {}", self.about, self.merit.words())
    }

    /// The bound in words.
    pub fn wanted(&self) -> String {
        let word = match self.bound {
            AtMost(_) => "at most",
            AtLeast(_) => "at least",
        };
        let value = match self.against {
            Some(_) => number::digits(self.bound.value()),
            None => number::shown(self.merit, self.bound.value()),
        };
        format!("{word} {value}")
    }

    /// A figure of it in words.
    pub fn shown(&self, figure: &Figure) -> String {
        match (self.against, number::interval(self.merit, figure)) {
            (Some(_), _) => number::ratio(figure),
            (None, Some(interval)) => {
                format!("{} ({interval})", number::shown(self.merit, figure.median))
            }
            (None, None) => number::shown(self.merit, figure.median),
        }
    }

    fn of(&self, answer: &Answer, path: Kind) -> Result<Figure, String> {
        let rounds = |kind: Kind| {
            let column = answer
                .column(kind)
                .ok_or_else(|| format!("{kind} was not part of this run"))?;
            match (&column.ended, column.rounds.is_empty()) {
                (Some(ended), true) => Err(format!("{kind} could not be measured: {}", ended.why)),
                (None, true) => Err(format!("{kind} has no round")),
                (_, false) => Ok(&column.rounds),
            }
        };
        let figure = match self.against {
            Some(against) => statistics::ratio(self.merit, rounds(path)?, rounds(against)?),
            None => statistics::figure(self.merit, rounds(path)?),
        };
        figure.ok_or_else(|| "no round has this figure for both".to_owned())
    }
}

use {
    Bound::{AtLeast, AtMost},
    Kind::{
        Direct, HaproxyPair, HaproxyPairFull, IptablesRelay, Mtls, MtlsFull, RedirectRelay,
        Redirected, Unselected,
    },
    Merit::{BitsPerSecond, CpuPerGigabyte, MemoryPerConnection, P50, P99, PerSecond},
};

/// All goals.
pub static GOALS: [Goal; 15] = [
    Goal::new(
        "connect-1",
        Unselected,
        Direct,
        P50,
        AtMost(1.02),
        "connect(), not selected",
    ),
    Goal::new(
        "first-byte-1",
        RedirectRelay,
        IptablesRelay,
        P50,
        AtMost(0.97),
        "first byte, redirected to a plain proxy",
    )
    .beside(Redirected),
    Goal::new(
        "first-byte-1000",
        RedirectRelay,
        IptablesRelay,
        P50,
        AtMost(0.85),
        "first byte, the same with 1,000 rules",
    )
    .beside(Redirected),
    Goal::new(
        "first-byte-10000",
        RedirectRelay,
        IptablesRelay,
        P50,
        AtMost(0.6),
        "first byte, the same with 10,000 rules",
    )
    .beside(Redirected),
    Goal::new(
        "first-byte-mtls",
        Mtls,
        HaproxyPair,
        P50,
        AtMost(0.2),
        "first byte, mutual TLS",
    ),
    Goal::new(
        "round-trip",
        Mtls,
        HaproxyPair,
        P50,
        AtMost(0.85),
        "round trip, mutual TLS",
    ),
    Goal::new(
        "round-trip",
        Mtls,
        HaproxyPair,
        P99,
        AtMost(0.85),
        "round trip, mutual TLS",
    ),
    Goal::new(
        "bulk-up-65536",
        Mtls,
        HaproxyPair,
        BitsPerSecond,
        AtLeast(1.4),
        "bulk up, mutual TLS",
    ),
    Goal::new(
        "bulk-down-65536",
        Mtls,
        HaproxyPair,
        BitsPerSecond,
        AtLeast(1.4),
        "bulk down, mutual TLS",
    ),
    Goal::new(
        "handshake-pair",
        MtlsFull,
        HaproxyPairFull,
        PerSecond,
        AtLeast(1.5),
        "full handshakes through the pair",
    ),
    Goal::new(
        "bulk-up-65536",
        Mtls,
        HaproxyPair,
        CpuPerGigabyte,
        AtMost(0.6),
        "bulk up, mutual TLS",
    ),
    Goal::new(
        "bulk-down-65536",
        Mtls,
        HaproxyPair,
        CpuPerGigabyte,
        AtMost(0.6),
        "bulk down, mutual TLS",
    ),
    Goal::new(
        "bulk-down-65536",
        Redirected,
        Direct,
        BitsPerSecond,
        AtLeast(0.45),
        "bulk down, plain text",
    ),
    Goal::new(
        "bulk-down-65536",
        Redirected,
        RedirectRelay,
        CpuPerGigabyte,
        AtMost(0.8),
        "bulk down, plain text, against a relay that copies",
    ),
    Goal {
        against: None,
        ..Goal::new(
            "idle",
            Mtls,
            HaproxyPair,
            MemoryPerConnection,
            AtMost(24.0 * 1024.0),
            "idle connection of mutual TLS, both proxies",
        )
    },
];

#[cfg(test)]
mod tests;
