//! The report for people: one file, without scripts, without anything from elsewhere.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{Trouble, compare::Comparison, path::Kind, run::progress::Rough};

use super::{
    Report,
    plot::escape,
    sections::{self, Section},
};

mod changes;
mod summary;

/// Light and dark, on a screen and on paper.
const STYLE: &str = include_str!("html/page.css");

impl Report {
    /// Writes it for people.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write_html(&self, comparison: Option<&Comparison>, path: &Path) -> Result<(), Trouble> {
        fs::write(path, self.html(comparison))
            .map_err(|error| Trouble::new(format!("writing the report {}", path.display()), error))
    }

    /// The page.
    pub fn html(&self, comparison: Option<&Comparison>) -> String {
        let sections = sections::all(self);
        let changes = comparison.map(changes::of).unwrap_or_default();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <title>What interception and mutual TLS cost</title><style>{STYLE}</style></head><body>\
             {head}<main>{summary}{changes}{sections}{how}{paths}{machine}</main></body></html>\n",
            head = self.head(&sections, comparison.is_some()),
            summary = summary::of(self),
            sections = sections.iter().map(section).collect::<String>(),
            how = self.how(),
            paths = self.paths(),
            machine = self.facts(),
        )
    }

    fn head(&self, sections: &[Section], compared: bool) -> String {
        let machine = &self.machine;
        let mut links = vec![("summary", "At a glance")];
        if compared {
            links.push(("changes", "What moved"));
        }
        links.extend(sections.iter().map(|section| (section.id, section.title)));
        links.extend([
            ("how", "How it was measured"),
            ("paths", "The paths"),
            ("machine", "The machine"),
        ]);
        let links: String = links
            .into_iter()
            .map(|(id, title)| format!("<a href=\"#{id}\">{title}</a>"))
            .collect();
        format!(
            "<header><h1>What interception and mutual TLS cost</h1><p>{} &middot; {} processors &middot; Linux {} &middot; {}</p>\
             <p><code>{}</code></p><nav>{links}</nav></header>",
            escape(&machine.cpu),
            machine.cpus,
            escape(&machine.kernel),
            escape(machine.began.get(..10).unwrap_or(&machine.began)),
            escape(&self.command),
        )
    }

    fn how(&self) -> String {
        let all = self.cases.iter().flat_map(|answer| answer.measured());
        let rounds: BTreeSet<usize> = all.map(|column| column.rounds.len()).collect();
        let rounds = match (rounds.first(), rounds.last()) {
            (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
            (Some(rounds), _) => rounds.to_string(),
            (None, _) => "no".to_owned(),
        };
        let intervals = "a figure is the median over the rounds. Its interval is that of two order statistics: with \
             whatever distribution, it covers the true median in at least 95 % of such runs (with 15 rounds in 96.5 %, with 8 in \
             99.2 %). With fewer than six rounds no such interval exists, and none is shown";
        let items = [
            "Every path stands on a stage of its own: two network namespaces of this host, joined by one virtual wire, with the \
             proxies of that path and an agent of the benchmark at each end. The agents are the same for all paths. No packet leaves the host."
                .to_owned(),
            format!(
                "The paths of a case take turns, one slice each: forwards in one round, backwards in the next ({rounds} rounds; those before, \
                 in which caches and pools fill, are thrown away). A ratio is taken of two slices of one round, so that what \
                 slows the whole machine for a while slows both."
            ),
            format!("In tables and plots, {intervals}."),
            "Latencies are recorded in HDR histograms with three significant digits. Curves show the operations of all rounds together, figures the \
             median of what each round had for that percentile; where a round has too few operations for a percentile, it is that of all rounds, and says so."
                .to_owned(),
            "CPU time is what the kernel accounted to the control groups of the proxies (cpu.stat), on both hosts of a pair together; \
             the work of the kernel for their sockets is in it as far as it ran in their name, that of interrupts is not. Where there is no proxy there is none."
                .to_owned(),
            "Client, server and proxies share the processors. On a host with few of them a path that uses less CPU is also faster for that reason, as it \
             would be beside any other work."
                .to_owned(),
            "A slice in which an operation failed ends its path with the reason; it is not left out in silence. Rounds, histograms and reasons are in report.json, \
             from which every figure here can be computed again."
                .to_owned(),
        ];
        let items: String = items
            .iter()
            .map(|item| format!("<li>{}</li>", escape(item)))
            .collect();
        format!("<section id=\"how\"><h2>How it was measured</h2><ul>{items}</ul></section>")
    }

    fn paths(&self) -> String {
        let used = |kind: &Kind| {
            self.cases.iter().any(|answer| {
                answer
                    .columns
                    .iter()
                    .any(|column| column.path.kind == *kind)
            })
        };
        let item = |kind: Kind| {
            format!(
                "<dt><span class=\"path p-{kind}\">{kind}</span></dt><dd>{}<small>{}</small></dd>",
                escape(kind.about()),
                escape(kind.notes())
            )
        };
        let items: String = Kind::ALL.into_iter().filter(used).map(item).collect();
        format!("<section id=\"paths\"><h2>The paths</h2><dl>{items}</dl></section>")
    }

    fn facts(&self) -> String {
        let machine = &self.machine;
        let mut rows = vec![
            ("began", machine.began.clone()),
            ("took", Rough(self.took).to_string()),
            ("profile", self.profile.to_string()),
            (
                "processor",
                format!(
                    "{} ({}), {} usable",
                    machine.cpu, machine.architecture, machine.cpus
                ),
            ),
            (
                "memory",
                format!("{:.1} GiB", machine.memory as f64 / f64::from(1 << 30)),
            ),
            ("kernel", format!("Linux {}", machine.kernel)),
            ("virtualisation", machine.virtualisation.clone()),
            ("frequency governor", machine.governor.clone()),
            ("clock source", machine.clock.clone()),
            ("control groups", machine.cgroups.clone()),
            ("load before (1, 5, 15 min)", machine.load_before.clone()),
        ];
        rows.extend(
            machine
                .programs
                .iter()
                .map(|(program, version)| (program.as_str(), version.clone())),
        );
        rows.extend(
            machine
                .mitigations
                .iter()
                .map(|(flaw, state)| (flaw.as_str(), state.clone())),
        );
        let rows: String = rows
            .into_iter()
            .map(|(what, value)| {
                format!(
                    "<tr><th>{}</th><td>{}</td></tr>",
                    escape(what),
                    escape(&value)
                )
            })
            .collect();
        format!(
            "<section id=\"machine\"><h2>The machine</h2><div class=\"wide\"><table class=\"facts\"><tbody>{rows}</tbody></table></div></section>"
        )
    }
}

fn section(section: &Section) -> String {
    format!(
        "<section id=\"{}\"><h2>{}</h2>{}</section>",
        section.id, section.title, section.body
    )
}

#[cfg(test)]
mod tests;
