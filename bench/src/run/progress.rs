//! How far a run is, for whoever waits.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{
    load::Load,
    plan::{self, Plan},
};

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The name of the case.
    pub case: String,
    /// Its number, from 1.
    pub number: usize,
    /// How many cases there are.
    pub cases: usize,
    /// What is being done for it.
    pub doing: Doing,
    /// About how long the rest of the run takes.
    pub left: Duration,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A path is set up.
    SetsUp {
        /// Which.
        path: String,
    },
    /// A slice that does not count.
    WarmsUp {
        /// Of this path.
        path: String,
    },
    /// A slice that counts.
    Measures {
        /// Of this path.
        path: String,
        /// In this round, from 1.
        round: u32,
        /// Of so many.
        rounds: u32,
    },
    /// A path is left out from here on.
    LeavesOut {
        /// Which.
        path: String,
        /// Why, with what helps.
        why: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            case,
            number,
            cases,
            ..
        } = self;
        write!(f, "[{number}/{cases}] {case}: ")?;
        match &self.doing {
            Doing::SetsUp { path } => write!(f, "setting up {path}")?,
            Doing::WarmsUp { path } => write!(f, "warming up, {path}")?,
            Doing::Measures {
                path,
                round,
                rounds,
            } => write!(f, "round {round} of {rounds}, {path}")?,
            Doing::LeavesOut { path, why } => return write!(f, "without {path}: {why}"),
        }
        write!(f, " ({} left)", Rough(self.left))
    }
}

/// A length of time, as exact as a guess is.
pub struct Rough(pub Duration);

impl fmt::Display for Rough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..=90 => write!(f, "about {} s", seconds.max(1)),
            seconds => write!(f, "about {} min", (seconds + 30) / 60),
        }
    }
}

/// Shows progress: on a terminal in one line that is written anew, elsewhere a line for each case.
pub struct Line<W: Write> {
    out: W,
    terminal: bool,
    case: usize,
    open: bool,
}

impl<W: Write> Line<W> {
    /// Shows it on `out`, which is a `terminal` or not.
    pub fn new(out: W, terminal: bool) -> Self {
        Self {
            out,
            terminal,
            case: 0,
            open: false,
        }
    }

    /// Shows `progress`.
    ///
    /// # Errors
    /// Nobody can read it any more.
    pub fn show(&mut self, progress: &Progress) -> io::Result<()> {
        let stays = matches!(progress.doing, Doing::LeavesOut { .. });
        if self.terminal && !stays {
            self.open = true;
            let text: String = progress.to_string().chars().take(78).collect();
            write!(self.out, "\r{text}\x1b[K")?;
        } else if stays || progress.number != self.case {
            self.end()?;
            writeln!(self.out, "{progress}")?;
        }
        self.case = progress.number;
        self.out.flush()
    }

    /// Takes the line away that would be written anew.
    ///
    /// # Errors
    /// Nobody can read it any more.
    pub fn end(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.open) {
            write!(self.out, "\r\x1b[K")?;
        }
        self.out.flush()
    }
}

/// Guesses what is left by how well the plan's guess held so far.
pub(super) struct Clock {
    began: Instant,
    number: usize,
    cases: usize,
    planned: Duration,
    done: Duration,
}

impl Clock {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            began: Instant::now(),
            number: 0,
            cases: plan.cases.len(),
            planned: plan.estimate(),
            done: Duration::ZERO,
        }
    }

    pub(super) fn begin(&mut self) {
        self.number += 1;
    }

    pub(super) fn slice_done(&mut self, load: &Load) {
        self.done += plan::slice(load);
    }

    pub(super) fn set_up_done(&mut self) {
        self.done += plan::SET_UP;
    }

    pub(super) fn progress(&self, case: &str, doing: Doing) -> Progress {
        let mut left = self.planned.saturating_sub(self.done);
        // Before that the quotient of two small guesses says nothing.
        if self.done > Duration::from_secs(3) {
            let held = self.began.elapsed().as_secs_f64() / self.done.as_secs_f64();
            left = left.mul_f64(held.clamp(0.2, 5.0));
        }
        Progress {
            case: case.to_owned(),
            number: self.number,
            cases: self.cases,
            doing,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(number: usize, doing: Doing) -> Progress {
        Progress {
            case: "round-trip".into(),
            number,
            cases: 9,
            doing,
            left: Duration::from_secs(200),
        }
    }

    fn shown(terminal: bool) -> String {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, terminal);
        let path = || "mtls".to_owned();
        for round in 1..=2 {
            let doing = Doing::Measures {
                path: path(),
                round,
                rounds: 2,
            };
            line.show(&progress(1, doing)).unwrap();
        }
        let why = "no nginx".to_owned();
        line.show(&progress(1, Doing::LeavesOut { path: path(), why }))
            .unwrap();
        line.show(&progress(2, Doing::WarmsUp { path: path() }))
            .unwrap();
        line.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn where_nobody_can_rewrite_a_line_each_case_has_one_and_so_has_what_is_left_out() {
        assert_eq!(
            shown(false),
            "[1/9] round-trip: round 1 of 2, mtls (about 3 min left)\n\
             [1/9] round-trip: without mtls: no nginx\n\
             [2/9] round-trip: warming up, mtls (about 3 min left)\n"
        );
    }

    #[test]
    fn on_a_terminal_the_line_is_written_anew_and_what_is_left_out_stays() {
        let text = shown(true);
        assert!(
            text.contains("\r[1/9] round-trip: round 2 of 2, mtls"),
            "{text:?}"
        );
        assert!(
            text.contains("\r\x1b[K[1/9] round-trip: without mtls: no nginx\n"),
            "{text:?}"
        );
        assert!(text.ends_with("\r\x1b[K"), "{text:?}");
    }
}
