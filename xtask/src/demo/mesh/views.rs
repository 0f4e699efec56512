//! What the daemons say of themselves, and what they cost.

use std::{env, time::Duration};

use crate::{
    cmd,
    demo::{
        daemon::Daemon,
        host::{Running, poll},
        latency,
    },
};

use super::{DIRECT, Mesh, SERVER, claims::Verdict};

/// Lines of an answer that are shown: all of it would not fit on the screen.
const SHORT: usize = 6;

impl Mesh<'_> {
    pub(super) fn status(&self) -> Verdict {
        let mut seen = Vec::new();
        for (letter, daemon) in [("A", self.client), ("B", self.server)] {
            let status = says(daemon, "status")?;
            if status.trim().is_empty() {
                return Err(format!(
                    "expected a status, the daemon of host {letter} printed none"
                ));
            }
            seen.push(shorten(letter, &status));
        }
        Ok(seen.join("\n    "))
    }

    pub(super) fn connections(&self) -> Verdict {
        let mut curl = self.a.application("curl");
        curl.args(["--silent", "--limit-rate", "100k", "--output", "/dev/null"]);
        curl.arg(format!("http://{SERVER}/large.bin"));
        let _download = Running::start(self.a.stage, "download", &mut curl)
            .map_err(|error| format!("{error:#}"))?;
        let mut seen = Vec::new();
        for (letter, daemon) in [("A", self.client), ("B", self.server)] {
            let shown = poll(Duration::from_secs(5), || {
                says(daemon, "connections")
                    .ok()
                    .filter(|shown| shown.contains(SERVER))
            });
            match shown {
                Some(shown) => seen.push(shorten(letter, &shown)),
                None => {
                    let shown = says(daemon, "connections")?;
                    return Err(format!(
                        "expected {SERVER} on host {letter}, saw: {}",
                        shown.trim()
                    ));
                }
            }
        }
        Ok(seen.join("\n    "))
    }

    pub(super) fn latency(&self) -> Verdict {
        let this = env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
        let mut client = self.a.application(this);
        client.args(["first-byte", "--direct", DIRECT, "--redirected", SERVER]);
        let (direct, with) = cmd::output(&mut client)
            .and_then(|output| latency::read(&output))
            .map_err(|error| format!("{error:#}"))?;
        Ok(format!(
            "Sidetrack adds {} µs (direct {direct} µs, with Sidetrack {with} µs; \
             medians of 200 new connections each, in turn)",
            with.saturating_sub(direct)
        ))
    }
}

fn says(daemon: &Daemon<'_>, command: &str) -> Verdict {
    daemon.says(command).map_err(|error| format!("{error:#}"))
}

fn shorten(letter: &str, text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let more = lines.len().saturating_sub(SHORT);
    let mut shown: Vec<String> = lines
        .iter()
        .take(SHORT)
        .map(|line| format!("{letter} {line}"))
        .collect();
    if more > 0 {
        shown.push(format!("{letter} … {more} more lines"));
    }
    shown.join("\n    ")
}
