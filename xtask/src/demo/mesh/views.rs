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

impl Mesh<'_> {
    pub(super) fn status(&self) -> Verdict {
        let mut seen = Vec::new();
        for (letter, host, daemon) in [("A", self.a, self.client), ("B", self.b, self.server)] {
            let status = says(daemon, "status")?;
            if !status.contains(&host.applications) {
                return Err(format!(
                    "host {letter}: expected programs at {}, saw: {status}",
                    host.applications
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

/// The first paragraph: all of it would not fit on the screen.
fn shorten(letter: &str, text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let shown: Vec<String> = lines.map(|line| format!("{letter} {line}")).collect();
    shown.join("\n    ")
}
