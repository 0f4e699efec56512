//! What moved since an earlier run.

use crate::{
    compare::{Change, Comparison},
    report::{
        number,
        plot::{Axis, Row, Scale, Whiskers, escape},
    },
};

/// More than that nobody reads.
const SHOWN: usize = 40;

/// The section, with what moved and what nobody can tell.
pub(super) fn of(comparison: &Comparison) -> String {
    let warnings: String = comparison
        .warnings
        .iter()
        .map(|warning| format!("<p class=\"warning\">The machine differs, so ratios may have moved by themselves: {}</p>", escape(warning)))
        .collect();
    let only: String = comparison
        .only_one
        .iter()
        .map(|only| format!("<li>{}</li>", escape(only)))
        .collect();
    let only = match only.is_empty() {
        true => String::new(),
        false => format!(
            "<details><summary>What could not be compared</summary><ul>{only}</ul></details>"
        ),
    };
    let moved: Vec<&Change> = comparison.moved.iter().take(SHOWN).collect();
    let plot = match moved.is_empty() {
        true => String::new(),
        false => plot(&moved),
    };
    format!(
        "<section id=\"changes\"><h2>What moved</h2>{warnings}<p>Ratios then and now, and memory as it is. A figure moved if the two intervals have nothing in common: \
         {} did, {} did not. Of so many figures a few may do so by chance.</p>{plot}{}{only}</section>",
        comparison.moved.len(),
        comparison.rest.len(),
        table(&moved)
    )
}

fn plot(moved: &[&Change]) -> String {
    let scale = Scale::around(moved.iter().map(|change| change.factor()).chain([0.9, 1.1]));
    let row = |change: &&Change| Row {
        name: format!("{}: {}, {}", change.case, change.path, change.merit.words()),
        class: if change.is_better() {
            "v-reached".to_owned()
        } else {
            "v-missed".to_owned()
        },
        value: Some(change.factor()),
        interval: None,
        words: format!("{} times", number::digits(change.factor())),
        begins: false,
    };
    let plot = Whiskers {
        title: "What moved".to_owned(),
        axis: Axis::new(scale, "now over then, logarithmic", number::trimmed),
        rows: moved.iter().map(row).collect(),
        left_is_good: false,
    };
    format!(
        "<figure><figcaption>What moved<small>green for the better, red for the worse</small></figcaption><div class=\"wide\">{}</div></figure>",
        plot.draw()
    )
}

fn table(moved: &[&Change]) -> String {
    if moved.is_empty() {
        return String::new();
    }
    let rows: String = moved
        .iter()
        .map(|change| {
            let shown = |figure| match change.against {
                Some(_) => number::ratio(figure),
                None => number::shown(change.merit, figure.median),
            };
            let cells = [
                change.case.clone(),
                change.path.clone(),
                change.against.clone().unwrap_or_default(),
                change.merit.title().to_owned(),
                shown(&change.then),
                shown(&change.now),
            ];
            let cells: String = cells
                .iter()
                .map(|cell| format!("<td>{}</td>", escape(cell)))
                .collect();
            let (class, word) = if change.is_better() {
                ("reached", "better")
            } else {
                ("missed", "worse")
            };
            format!("<tr>{cells}<td><span class=\"verdict v-{class}\">{word}</span></td></tr>")
        })
        .collect();
    format!(
        "<div class=\"wide\"><table class=\"goals\"><thead><tr><th>case</th><th>path</th><th>against</th><th>figure</th><th>then</th><th>now</th><th></th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}
