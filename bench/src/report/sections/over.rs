//! What a figure does as rules become more or writes larger: several cases in one plot.

use crate::{
    case::Merit,
    load::Load,
    path::Kind,
    report::{
        Answer, number,
        plot::{Axis, Lines, Point, Scale, Series},
    },
    statistics,
};

use super::{class, figure, looked_at, tables};

/// Median latency over the number of rules. Nothing where all cases have as many.
pub(super) fn rules(answers: &[&Answer]) -> String {
    let mut steps: Vec<(u32, &Answer)> = answers
        .iter()
        .filter_map(|answer| Some((rules_of(answer)?, *answer)))
        .collect();
    steps.sort_by_key(|(rules, _)| *rules);
    let about = match steps.first() {
        Some((_, answer)) if matches!(answer.load, Load::Connect { .. }) => {
            "connect() over the number of rules"
        }
        _ => "First byte over the number of rules",
    };
    let words = |rules: u32| number::trimmed(f64::from(rules));
    plot(&steps, Merit::P50, about, "rules, logarithmic", words)
}

/// The number that the case's name bears, which its paths with rules have.
fn rules_of(answer: &Answer) -> Option<u32> {
    let bears: u32 = answer.name.rsplit('-').next()?.parse().ok()?;
    let has = |rules: u32| {
        answer
            .columns
            .iter()
            .any(|column| column.path.rules == rules)
    };
    (matches!(answer.load, Load::Connect { .. } | Load::FirstByte { .. }) && has(bears))
        .then_some(bears)
}

/// Throughput and what it costs over the size of writes. Nothing where there is one size.
pub(super) fn sizes(answers: &[&Answer], way: &str) -> String {
    let mut steps = Vec::new();
    for answer in answers {
        if let Load::Bulk { write, .. } = answer.load {
            steps.push((write, *answer));
        }
    }
    steps.sort_by_key(|(write, _)| *write);
    let label = "bytes of each write, logarithmic";
    let throughput = plot(
        &steps,
        Merit::BitsPerSecond,
        &format!("Throughput {way}"),
        label,
        bytes,
    );
    let cpu = plot(
        &steps,
        Merit::CpuPerGigabyte,
        &format!("CPU of the proxies for 10⁹ bytes, {way}"),
        label,
        bytes,
    );
    match (throughput.is_empty(), steps.is_empty()) {
        (false, _) => throughput + &cpu,
        (true, true) => String::new(),
        (true, false) => steps
            .iter()
            .map(|(_, answer)| super::single::case(answer))
            .collect(),
    }
}

fn bytes(size: u32) -> String {
    match size {
        kib if kib >= 1024 => format!("{} KiB", kib / 1024),
        bytes => format!("{bytes} B"),
    }
}

fn plot(
    steps: &[(u32, &Answer)],
    merit: Merit,
    title: &str,
    label: &str,
    words: impl Fn(u32) -> String,
) -> String {
    if steps.len() < 2 {
        return String::new();
    }
    let series: Vec<Series> = Kind::ALL
        .into_iter()
        .filter_map(|kind| line(steps, merit, kind))
        .collect();
    let values = series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.y));
    let scale = Scale::around(values);
    let ticks: Vec<_> = steps
        .iter()
        .map(|(step, _)| (f64::from(*step), words(*step)))
        .collect();
    let plot = Lines {
        title: title.to_owned(),
        x: Axis::at(
            Scale::around(ticks.iter().map(|(step, _)| *step)),
            label,
            ticks.clone(),
        ),
        y: Axis::new(scale, &format!("{}, logarithmic", merit.words()), |value| {
            number::short(merit, value)
        }),
        series,
        dots: true,
    };
    let note = format!(
        "{}; median over rounds, line: the interval in which it is",
        looked_at(merit)
    );
    let heads: Vec<String> = ticks.into_iter().map(|(_, words)| words).collect();
    let answers: Vec<&Answer> = steps.iter().map(|(_, answer)| *answer).collect();
    figure(title, &note, &plot.draw()) + &tables::side_by_side(&answers, merit, &heads)
}

fn line(steps: &[(u32, &Answer)], merit: Merit, kind: Kind) -> Option<Series> {
    let mut points = Vec::new();
    let mut path = None;
    for (step, answer) in steps {
        let Some(column) = answer.column(kind) else {
            continue;
        };
        let Some(figure) = statistics::figure(merit, &column.rounds) else {
            continue;
        };
        path = Some(&column.path);
        points.push(Point {
            x: f64::from(*step),
            y: figure.median,
            interval: figure
                .interval
                .map(|interval| (interval.low, interval.high)),
        });
    }
    let path = path.filter(|_| points.len() > 1)?;
    Some(Series {
        name: path.label(),
        class: class(path),
        points,
    })
}
