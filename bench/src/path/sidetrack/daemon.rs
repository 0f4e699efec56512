//! One daemon.

use std::path::Path;

use serde::Deserialize;

use crate::{
    Trouble,
    stage::{Host, Process, Streams, detach},
};

/// Access records: off, since the peers that it is compared with log nothing either. `"json"` is what
/// daemons do by themselves.
const ACCESS: &str = "off";

/// A daemon that has attached all and serves.
pub(super) struct Daemon {
    pub(super) process: Process,
}

/// What `sidetrack status --json` says, as far as it is asked here.
#[derive(Deserialize)]
struct Status {
    effective: bool,
    #[serde(default)]
    proxies: Vec<Proxy>,
}

#[derive(Deserialize)]
struct Proxy {
    state: String,
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
        let said = runtime_dir.to_string_lossy().into_owned();
        let ask = [
            "status",
            "--json",
            "--instance",
            instance,
            "--runtime-dir",
            &said,
        ];
        process.wait_until("it says that all is effective", || {
            // Until then the command fails, and says so by its code.
            let Ok(answer) = host.run(program, &ask, "") else {
                return Ok(false);
            };
            serves(&answer)
        })?;
        Ok(Self { process })
    }
}

fn serves(answer: &str) -> Result<bool, Trouble> {
    let status: Status = serde_json::from_str(answer)
        .map_err(|error| Trouble::new("reading what `sidetrack status --json` says", error))?;
    let proxies = status.proxies.iter();
    Ok(status.effective && proxies.into_iter().all(|proxy| proxy.state == "serving"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_serves_when_all_is_effective_and_the_proxy_of_others_is_registered() {
        let said = |text: &str| serves(text).unwrap();
        assert!(said(r#"{"effective":true,"other":1}"#));
        assert!(said(
            r#"{"effective":true,"proxies":[{"state":"serving"}]}"#
        ));
        assert!(!said(
            r#"{"effective":true,"proxies":[{"state":"absent"}]}"#
        ));
        assert!(!said(r#"{"effective":false}"#));
        assert!(serves("no daemon").is_err());
    }
}
