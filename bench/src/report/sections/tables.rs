//! What a plot shows, as numbers.

use crate::{
    case::Merit,
    path::Spec,
    report::{Answer, Shown, number, plot::escape},
};

use super::swatch;

/// All merits of one case.
pub(super) fn of(answer: &Answer) -> String {
    if answer.measured().next().is_none() {
        return "<p class=\"nothing\">No path of this case could be measured.</p>".to_owned();
    }
    let head = answer.merits.iter().map(|merit| {
        let to = answer
            .base(*merit)
            .map_or(String::new(), |base| format!("to {}", base.path.label()));
        format!(
            "<th>{}</th><th class=\"ratio\">{}</th>",
            merit.title(),
            escape(&to)
        )
    });
    let head: String = head.collect();
    let rows = answer.measured().map(|column| {
        let cells = answer.merits.iter().map(|merit| {
            let shown = column.figures.iter().find(|shown| shown.merit == *merit);
            format!(
                "<td>{}</td><td class=\"ratio\">{}</td>",
                value(*merit, shown),
                ratio(shown)
            )
        });
        row(&column.path, &cells.collect::<String>())
    });
    table(&head, &rows.collect::<String>())
}

/// One merit of several cases.
pub(super) fn side_by_side(answers: &[&Answer], merit: Merit, heads: &[String]) -> String {
    let mut paths: Vec<&Spec> = Vec::new();
    for column in answers.iter().flat_map(|answer| answer.measured()) {
        let known = paths
            .iter()
            .any(|path| path.kind == column.path.kind && path.build == column.path.build);
        if !known {
            paths.push(&column.path);
        }
    }
    let head: String = heads
        .iter()
        .map(|head| format!("<th>{}</th><th class=\"ratio\">ratio</th>", escape(head)))
        .collect();
    let rows = paths.into_iter().map(|path| {
        let cells = answers.iter().map(|answer| {
            let same = |other: &Spec| other.kind == path.kind && other.build == path.build;
            let column = answer.measured().find(|column| same(&column.path));
            let shown =
                column.and_then(|column| column.figures.iter().find(|shown| shown.merit == merit));
            format!(
                "<td>{}</td><td class=\"ratio\">{}</td>",
                value(merit, shown),
                ratio(shown)
            )
        });
        row(path, &cells.collect::<String>())
    });
    table(&head, &rows.collect::<String>())
}

fn table(head: &str, rows: &str) -> String {
    format!(
        "<div class=\"wide\"><table><thead><tr><th>Path</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn row(path: &Spec, cells: &str) -> String {
    format!("<tr><th>{}</th>{cells}</tr>", swatch(path))
}

fn value(merit: Merit, shown: Option<&Shown>) -> String {
    let Some(shown) = shown else {
        return "<i>none</i>".to_owned();
    };
    let interval = match shown.pooled {
        true => Some("all rounds".to_owned()),
        false => number::interval(merit, &shown.figure),
    };
    let interval = interval.map_or(String::new(), |interval| {
        format!("<small>{interval}</small>")
    });
    format!("{}{interval}", number::shown(merit, shown.figure.median))
}

fn ratio(shown: Option<&Shown>) -> String {
    let Some(figure) = shown.and_then(|shown| shown.ratio) else {
        return String::new();
    };
    let interval = figure.interval.map(|interval| {
        format!(
            "<small>{} to {}</small>",
            number::digits(interval.low),
            number::digits(interval.high)
        )
    });
    format!(
        "{}{}",
        number::digits(figure.median),
        interval.unwrap_or_default()
    )
}
