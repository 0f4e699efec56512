//! A case by itself: latencies by percentile, or bars.

use crate::{
    case::Merit,
    report::{
        Answer, Column,
        number::{self, Unit},
        plot::{Axis, Bar, Bars, Lines, Point, Scale, Series},
    },
};

use super::{class, figure, looked_at, tables};

/// How many points a curve of percentiles has.
const POINTS: u32 = 120;
/// So many operations must be beyond a percentile for it to be drawn.
const BEYOND: f64 = 10.0;

/// The case with its plot and its table.
pub(super) fn case(answer: &Answer) -> String {
    let plot = match answer.merits.first() {
        _ if answer.measured().next().is_none() => String::new(),
        Some(Merit::P50) => percentiles(answer),
        Some(merit) => bars(answer, *merit),
        None => String::new(),
    };
    format!(
        "<h3 id=\"case-{0}\"><code>{0}</code></h3>{plot}{1}",
        answer.name,
        tables::of(answer)
    )
}

fn percentiles(answer: &Answer) -> String {
    let curves: Vec<_> = answer
        .measured()
        .filter_map(|column| Some((column, last(column)?)))
        .collect();
    let end = curves.iter().map(|(_, last)| *last).fold(0.9, f64::max);
    let series: Vec<Series> = curves
        .iter()
        .map(|(column, last)| curve(column, *last, end))
        .collect();
    let values = series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.y));
    let scale = Scale::around(values);
    let plot = Lines {
        title: answer.about.clone(),
        x: Axis::percentiles(end),
        y: Axis::new(scale, "latency, logarithmic", |value| {
            number::short(Merit::P50, value)
        }),
        series,
        dots: false,
    };
    let note = "latencies by percentile, all rounds together, each curve as far as ten operations lie beyond it; lower is better";
    figure(&answer.about, note, &plot.draw())
}

/// The last percentile that its operations tell something of.
fn last(column: &Column) -> Option<f64> {
    let count: u64 = column.latencies.iter().map(|bucket| bucket.1).sum();
    let last = 1.0 - BEYOND / count as f64;
    (last > 0.0).then_some(last)
}

fn curve(column: &Column, last: f64, end: f64) -> Series {
    let pooled = column.pooled();
    let quantiles = (0..=POINTS).map(|i| Scale::quantile(end, f64::from(i) / f64::from(POINTS)));
    let quantiles = quantiles.filter(|quantile| *quantile <= last);
    let point = |quantile| Point {
        x: quantile,
        y: pooled.value_at_quantile(quantile) as f64 / 1e9,
        interval: None,
    };
    Series {
        name: column.path.label(),
        class: class(&column.path),
        points: quantiles.map(point).collect(),
    }
}

fn bars(answer: &Answer, merit: Merit) -> String {
    let figures: Vec<_> = answer
        .measured()
        .filter_map(|column| {
            let shown = column.figures.iter().find(|shown| shown.merit == merit)?;
            Some((column, shown.figure))
        })
        .collect();
    let highest = figures.iter().map(|(_, figure)| {
        figure
            .interval
            .map_or(figure.median, |interval| interval.high)
    });
    let highest = highest.fold(0.0, f64::max);
    let unit = Unit::fitting(merit, highest);
    let bars = figures.iter().map(|(column, figure)| Bar {
        name: column.path.label(),
        class: class(&column.path),
        value: figure.median / unit.size,
        interval: figure
            .interval
            .map(|interval| (interval.low / unit.size, interval.high / unit.size)),
        words: number::shown(merit, figure.median),
    });
    let scale = Scale::from_zero(std::iter::once(highest / unit.size));
    let plot = Bars {
        title: answer.about.clone(),
        axis: Axis::new(scale, unit.name, number::trimmed),
        bars: bars.collect(),
    };
    let note = format!(
        "{}; median over rounds, line: the interval in which it is",
        looked_at(merit)
    );
    figure(&answer.about, &note, &plot.draw())
}
