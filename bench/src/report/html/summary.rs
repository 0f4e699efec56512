//! What one sees first: ratios with their intervals, and what must be reached.

use crate::{
    goals::{Bound, Goal, Verdict},
    plan::Profile,
    report::{
        Answer, Column, Report, number,
        plot::{Axis, Row, Scale, Whiskers, escape},
        sections::class,
    },
    statistics::Figure,
};

/// More rows than that nobody takes in at a glance.
const ROWS: usize = 48;

/// Goals where all of them were measured, and ratios as far as they are few.
pub(super) fn of(report: &Report) -> String {
    let goals = match report.profile {
        Profile::Full => goals(report),
        Profile::Smoke => "<p class=\"warning\">This run shows that everything is alive. It is too short for its figures to mean anything.</p>".to_owned(),
        Profile::Quick => String::new(),
    };
    format!(
        "<section id=\"summary\"><h2>At a glance</h2>{goals}{}</section>",
        ratios(report)
    )
}

fn goals(report: &Report) -> String {
    let found = Goal::verdicts(report);
    if found.is_empty() {
        return String::new();
    }
    let rows: Vec<Row> = found
        .iter()
        .map(|(goal, verdict)| row(goal, verdict))
        .collect();
    let ends = rows.iter().flat_map(|row| {
        [
            row.value,
            row.interval.map(|(low, _)| low),
            row.interval.map(|(_, high)| high),
        ]
    });
    let scale = Scale::around(ends.flatten().chain([0.5, 2.0]));
    let plot = Whiskers {
        title: "What must be reached".to_owned(),
        axis: Axis::new(
            scale,
            "figure over its bound (bound over figure where more is better), logarithmic; left of the line: reached",
            number::trimmed,
        ),
        rows,
        left_is_good: true,
    };
    let lines: String = found
        .iter()
        .map(|(goal, verdict)| line(goal, verdict, report))
        .collect();
    format!(
        "<figure><figcaption>What must be reached<small>dot: median over rounds, line: the interval in which it is</small></figcaption>\
         <div class=\"wide\">{}</div></figure>\
         <div class=\"wide\"><table class=\"goals\"><thead><tr><th>What</th><th>Paths and case</th><th>Bound</th><th>Found</th><th></th></tr></thead>\
         <tbody>{lines}</tbody></table></div>",
        plot.draw()
    )
}

/// As a share of the bound, so that all have one line to be left of.
fn row(goal: &Goal, verdict: &Verdict) -> Row {
    let share = |value: f64| match goal.bound {
        Bound::AtMost(bound) => value / bound,
        Bound::AtLeast(bound) => bound / value,
    };
    let figure = verdict.figure();
    let words = match figure {
        Some(figure) => goal.shown(&figure),
        None => verdict.word().to_owned(),
    };
    Row {
        name: goal.title(),
        class: format!("v-{}", verdict_class(verdict)),
        value: figure.map(|figure| share(figure.median)),
        interval: figure
            .and_then(|figure| figure.interval)
            .map(|interval| (share(interval.low), share(interval.high))),
        words,
        begins: false,
    }
}

fn line(goal: &Goal, verdict: &Verdict, report: &Report) -> String {
    let found = match (verdict, verdict.figure()) {
        (Verdict::Unknown(why), _) => why.clone(),
        (_, figure) => figure.map(|figure| goal.shown(&figure)).unwrap_or_default(),
    };
    let beside = goal.figure_beside(report);
    let beside = beside.map(|(kind, figure)| format!("{kind}: {}", number::ratio(&figure)));
    let whom = match goal.against {
        Some(against) => format!("{} to {against}", goal.path),
        None => goal.path.to_string(),
    };
    format!(
        "<tr><td>{}</td><td>{}<small>{}</small></td><td>{}</td><td>{}<small>{}</small></td>\
         <td><span class=\"verdict v-{}\">{}</span></td></tr>",
        escape(&goal.title()),
        escape(&whom),
        escape(goal.case),
        escape(&goal.wanted()),
        escape(&found),
        escape(&beside.unwrap_or_default()),
        verdict_class(verdict),
        verdict.word()
    )
}

fn verdict_class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Reached(_) => "reached",
        Verdict::Missed(_) => "missed",
        Verdict::Undecided(_) => "undecided",
        Verdict::Unknown(_) | Verdict::NotAsked => "unknown",
    }
}

/// The first merit of each case, by its ratio to the base.
fn ratios(report: &Report) -> String {
    let rows: Vec<Row> = report.cases.iter().flat_map(rows).collect();
    if rows.is_empty() || rows.len() > ROWS {
        return String::new();
    }
    let ends = rows.iter().flat_map(|row| {
        [
            row.value,
            row.interval.map(|(low, _)| low),
            row.interval.map(|(_, high)| high),
        ]
    });
    let scale = Scale::around(ends.flatten().chain([0.9, 1.1]));
    let plot = Whiskers {
        title: "Ratios".to_owned(),
        axis: Axis::new(
            scale,
            "ratio in the same round, logarithmic; better is left for latency and memory, right for throughput and what is done per second",
            number::trimmed,
        ),
        rows,
        left_is_good: false,
    };
    format!(
        "<figure><figcaption>Each path, compared<small>the first figure of each case; dot: median over rounds, line: the interval in which it is</small></figcaption>\
         <div class=\"wide\">{}</div></figure>",
        plot.draw()
    )
}

fn rows(answer: &Answer) -> Vec<Row> {
    let Some((merit, base)) = answer
        .merits
        .first()
        .and_then(|merit| Some((merit, answer.base(*merit)?)))
    else {
        return Vec::new();
    };
    let ratios = answer.measured().filter_map(|column| {
        let shown = column.figures.iter().find(|shown| shown.merit == *merit)?;
        Some((column, shown.ratio?))
    });
    let row = |(index, (column, ratio)): (usize, (&Column, Figure))| Row {
        name: format!(
            "{}, {}: {}",
            answer.name,
            merit.words(),
            column.path.label()
        ),
        class: class(&column.path),
        value: Some(ratio.median),
        interval: ratio.interval.map(|interval| (interval.low, interval.high)),
        words: format!("{} to {}", number::ratio(&ratio), base.path.label()),
        begins: index == 0,
    };
    ratios.enumerate().map(row).collect()
}
