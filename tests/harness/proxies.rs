//! Proxies that others wrote, in a cgroup of their own.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    Daemon,
    cgroup::Cgroup,
    host::Host,
    peer,
    process::Running,
    wait::{holds, until},
};

/// A proxy, killed on drop.
pub struct Proxy {
    /// Its process.
    pub running: Running,
}

/// mitmproxy's program, where `cargo xtask setup` put it: in cargo's target folder.
pub fn mitmdump() -> PathBuf {
    let tool = peer::binary()
        .parent()
        .and_then(|profile| profile.parent())
        .expect("the peer is in target/PROFILE")
        .join("tools/mitmproxy/bin/mitmdump");
    assert!(
        tool.is_file(),
        "{} is missing: cargo xtask setup",
        tool.display()
    );
    tool
}

/// TOML of a proxy and a rule that sends it everything to the other host's `ports`.
pub fn redirect(name: &str, listen: &[&str], ports: &str) -> String {
    format!(
        r#"
[proxy.{name}]
listen = {listen:?}
[[outbound]]
name = "to-{name}"
to = ["10.88.0.0/24", "fd88::/64"]
ports = ["{ports}"]
action = "redirect"
proxy = "{name}"
"#
    )
}

impl Proxy {
    /// `peer transparent` on `host`, born in `cgroup`.
    #[track_caller]
    pub fn start(host: &Host, cgroup: &Cgroup, listen: &[&str], more: &[&str]) -> Self {
        let mut command = host.command_in(cgroup.path(), peer::binary());
        command
            .arg("transparent")
            .args(listen.iter().flat_map(|at| ["--listen", at]))
            .args(more);
        let mut running = Running::spawn(command);
        running.line("it listens", |line| {
            (peer::parse(line)?["event"] == "ready").then_some(())
        });
        Self { running }
    }

    /// Where those whom it accepted wanted to go, or the errno of its question.
    pub fn asked(&self) -> Vec<String> {
        let lines = self.running.stdout();
        lines
            .iter()
            .filter_map(|line| peer::parse(line))
            .filter(|said| said["event"] == "accepted")
            .filter_map(|said| {
                let answer = said["destination"].as_str().or(said["errno"].as_str());
                answer.map(str::to_owned)
            })
            .collect()
    }

    /// Waits until it has accepted `count` connections, and gives what [`Self::asked`] does.
    #[track_caller]
    pub fn wait_asked(&self, count: usize) -> Vec<String> {
        holds(&format!("the proxy accepts {count} connections"), || {
            self.asked().len() >= count
        });
        self.asked()
    }
}

impl Daemon {
    /// What `status` says of the listeners of a proxy.
    #[track_caller]
    pub fn proxy(&self, name: &str) -> Vec<Value> {
        let status = self.ask("status");
        let listeners = status["proxies"].as_array().expect("a list of proxies");
        listeners
            .iter()
            .filter(|listener| listener["proxy"] == name)
            .cloned()
            .collect()
    }

    /// Waits until all listeners of a proxy are in a state; gives why, if it is said.
    #[track_caller]
    pub fn wait_proxy(&self, name: &str, state: &str) -> String {
        until(&format!("the proxy {name} is {state}"), || {
            let listeners = self.proxy(name);
            let all = !listeners.is_empty()
                && listeners.iter().all(|listener| listener["state"] == state);
            all.then(|| {
                let why = listeners.first().and_then(|first| first["why"].as_str());
                why.unwrap_or_default().to_owned()
            })
        })
    }
}
