//! One daemon.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{
    Trouble,
    stage::{Host, Process, Streams, detach},
};

/// Access records: off, since the peers that it is compared with log nothing either. `"json"` is what
/// daemons do by themselves.
const ACCESS: &str = "off";

/// A daemon that has attached all and serves.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    program: PathBuf,
    instance: String,
    runtime_dir: PathBuf,
}

/// What `sidetrack status --json` says, as far as it is asked here.
#[derive(Deserialize)]
struct Status {
    effective: bool,
    #[serde(default)]
    proxies: Vec<Proxy>,
    #[serde(default)]
    counters: Counters,
}

#[derive(Deserialize)]
struct Proxy {
    state: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counters {
    redirected: u64,
    redirected_to_proxy: u64,
}

impl Daemon {
    /// Starts it on `host`, at whose cgroup it is attached. `tables` are TOML.
    pub(super) fn start(host: &Host, program: &Path, tables: &str) -> Result<Self, Trouble> {
        let instance = host.instance();
        let runtime_dir = host.folder().join("run");
        let toml = format!(
            "version = 1\n[daemon]\ninstance = {instance:?}\nruntime_dir = {runtime_dir:?}\ndrain = \"100ms\"\n\
             [log]\naccess = \"{ACCESS}\"\n[intercept]\ncgroup = {:?}\n{tables}",
            host.group.name(),
        );
        let config = host.write("sidetrack.toml", &toml)?;
        let words = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let mut process = host.spawn(&host.proxy, program, &words, Streams::Log)?;
        // A daemon that ends leaves its rules in force.
        process.afterwards(detach(program, instance, &runtime_dir));
        let mut daemon = Self {
            process,
            program: program.to_owned(),
            instance: instance.to_owned(),
            runtime_dir,
        };
        daemon.wait_serving(host)?;
        Ok(daemon)
    }

    fn wait_serving(&mut self, host: &Host) -> Result<(), Trouble> {
        let (program, words) = (&self.program, self.status());
        self.process
            .wait_until("it says that all is effective", || {
                // Until then the command fails, and says so by its code.
                let Ok(answer) = host.run(program, &words, "") else {
                    return Ok(false);
                };
                let status = read(&answer)?;
                let serving = status.proxies.iter().all(|proxy| proxy.state == "serving");
                Ok(status.effective && serving)
            })
    }

    /// Connections that its programs have sent anywhere else than where they were going.
    pub(crate) fn redirected(&self, host: &Host) -> Result<u64, Trouble> {
        let status = read(&host.run(&self.program, &self.status(), "")?)?;
        Ok(status.counters.redirected + status.counters.redirected_to_proxy)
    }

    fn status(&self) -> [String; 6] {
        let folder = self.runtime_dir.to_string_lossy();
        [
            "status",
            "--json",
            "--instance",
            &self.instance,
            "--runtime-dir",
            &folder,
        ]
        .map(str::to_owned)
    }
}

fn read(answer: &str) -> Result<Status, Trouble> {
    serde_json::from_str(answer)
        .map_err(|error| Trouble::new("reading what `sidetrack status --json` says", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_status_says_beside_is_no_matter() {
        let status = read(
            r#"{"effective":true,"proxies":[{"state":"absent","proxy":"other"}],
                "counters":{"redirected":3,"ignored":1}}"#,
        )
        .unwrap();
        assert!(status.effective);
        assert_eq!(status.counters.redirected, 3);
        assert_eq!(
            status.proxies.first().map(|proxy| &*proxy.state),
            Some("absent")
        );
        assert!(!read(r#"{"effective":false}"#).unwrap().effective);
        assert!(read("no daemon").is_err());
    }
}
