//! The report for a terminal.

use std::fmt::Write;

use crate::{
    compare::{Change, Comparison},
    goals::{Goal, Verdict},
    plan::Profile,
};

use super::{Answer, Report, number};

/// Changes that are shown even if nothing tells them from chance.
const UNDECIDED_SHOWN: usize = 8;

impl Report {
    /// A table for each case, and what of the goals was reached where all were measured.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "{}, {} processors, Linux {}, virtualisation: {}",
            machine.cpu, machine.cpus, machine.kernel, machine.virtualisation
        );
        for answer in &self.cases {
            let _ = writeln!(text, "\n{}: {}", answer.name, answer.about);
            text.push_str(&lines(&rows(answer)));
            for column in &answer.columns {
                if let Some(ended) = &column.ended {
                    let rounds = column.rounds.len();
                    let when = if rounds == 0 {
                        "left out".to_owned()
                    } else {
                        format!("ended after {rounds} rounds")
                    };
                    let _ = writeln!(text, "  {} {when}: {}", column.path.label(), ended.why);
                }
            }
        }
        let goals = Goal::verdicts(self);
        if self.profile == Profile::Full && !goals.is_empty() {
            text.push_str("\nWhat must be reached, by the ratio in the same round:\n");
            let rows: Vec<_> = goals
                .iter()
                .map(|(goal, verdict)| goal_row(goal, verdict))
                .collect();
            text.push_str(&lines(&rows));
        }
        text
    }
}

impl Comparison {
    /// What moved, the most first.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(
                text,
                "The machine differs, so ratios may have moved by themselves: {warning}"
            );
        }
        let _ = writeln!(
            text,
            "{} figures moved, {} did not:",
            self.moved.len(),
            self.rest.len()
        );
        let mut rows = vec![
            ["case", "path", "against", "figure", "then", "now", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.moved.iter().map(|change| {
            change_row(
                change,
                if change.is_better() {
                    "better"
                } else {
                    "worse"
                },
            )
        }));
        rows.extend(
            self.rest
                .iter()
                .take(UNDECIDED_SHOWN)
                .map(|change| change_row(change, "intervals overlap")),
        );
        text.push_str(&lines(&rows));
        for only in &self.only_one {
            let _ = writeln!(text, "  not compared: {only}");
        }
        text
    }
}

fn rows(answer: &Answer) -> Vec<Vec<String>> {
    let mut head = vec!["path".to_owned()];
    for merit in &answer.merits {
        head.push(merit.words());
        head.push(
            answer
                .base(*merit)
                .map_or(String::new(), |base| format!("to {}", base.path.label())),
        );
    }
    let mut rows = vec![head];
    for column in answer.measured() {
        let mut row = vec![column.path.label()];
        for merit in &answer.merits {
            let shown = column.figures.iter().find(|shown| shown.merit == *merit);
            row.push(shown.map_or("-".to_owned(), |shown| {
                number::shown(*merit, shown.figure.median)
            }));
            let ratio = shown.and_then(|shown| shown.ratio);
            row.push(ratio.map_or(String::new(), |ratio| number::ratio(&ratio)));
        }
        rows.push(row);
    }
    rows
}

fn goal_row(goal: &Goal, verdict: &Verdict) -> Vec<String> {
    let found = match (verdict, verdict.figure()) {
        (Verdict::Unknown(why), _) => why.lines().next().unwrap_or_default().to_owned(),
        (_, Some(figure)) => goal.shown(&figure),
        (_, None) => String::new(),
    };
    vec![
        verdict.word().to_owned(),
        goal.title(),
        goal.wanted(),
        found,
    ]
}

fn change_row(change: &Change, word: &str) -> Vec<String> {
    let shown = |figure| match change.against {
        Some(_) => number::ratio(figure),
        None => number::shown(change.merit, figure.median),
    };
    vec![
        change.case.clone(),
        change.path.clone(),
        change.against.clone().unwrap_or_default(),
        change.merit.words(),
        shown(&change.then),
        shown(&change.now),
        word.to_owned(),
    ]
}

/// Columns as wide as they must be; the last one ends where it ends.
fn lines(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}
