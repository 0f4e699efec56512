//! The tests' own applications (`tests/peer`), started on a host.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    host::Host,
    process::Running,
    wait::{DEADLINE, until},
};

/// A server that listens.
pub struct Server {
    running: Running,
}

/// What each step of a script gave.
#[derive(Debug)]
pub struct Steps(Vec<Value>);

/// Where cargo put the binary: beside the folder of the test binaries.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("know the own binary");
    let path = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("test binaries are in target/PROFILE/deps")
        .join("peer");
    assert!(
        path.is_file(),
        "{} is missing: cargo build -p sidetrack-tests",
        path.display()
    );
    path
}

/// A line of a peer as JSON.
pub fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

impl Host {
    /// Starts a server with these arguments of `peer serve` and waits until it listens.
    #[track_caller]
    pub fn serve(&self, listen: &[SocketAddr], args: &[&str]) -> Server {
        let mut words = vec!["serve".to_owned()];
        words.extend(
            listen
                .iter()
                .flat_map(|addr| ["--listen".to_owned(), addr.to_string()]),
        );
        words.extend(args.iter().map(ToString::to_string));
        let mut command = self.command(binary());
        command.args(&words);
        Server::start(command)
    }

    /// Starts `peer` with these arguments.
    #[track_caller]
    pub fn peer(&self, args: &[&str]) -> Running {
        self.spawn(binary(), args)
    }

    /// Runs `peer` to its end and gives its last line; for loads that may take minutes.
    #[track_caller]
    pub fn peer_report(&self, args: &[&str]) -> Value {
        let ended = self.peer(args).finish_within(DEADLINE * 10);
        let last = ended.stdout.lines().last().and_then(parse);
        last.unwrap_or_else(|| panic!("no report from {ended}"))
    }

    /// Runs a client script to its end.
    #[track_caller]
    pub fn script(&self, steps: &[&str]) -> Steps {
        self.script_in(self.apps().path(), steps)
    }

    /// Runs a client script to its end whose process is born in `cgroup`.
    #[track_caller]
    pub fn script_in(&self, cgroup: &Path, steps: &[&str]) -> Steps {
        let mut command = self.command_in(cgroup, binary());
        command.arg("script").args(steps);
        let ended = Running::spawn(command)
            .finish_within(DEADLINE + Duration::from_secs(30))
            .expect_code(0);
        Steps(ended.stdout.lines().filter_map(parse).collect())
    }
}

impl Server {
    /// Starts a `peer serve` and waits until it listens.
    #[track_caller]
    pub fn start(command: Command) -> Self {
        let mut running = Running::spawn(command);
        running.line("it listens", |line| {
            (parse(line)?["event"] == "ready").then_some(())
        });
        Self { running }
    }

    /// What the server saw of each connection that it accepted.
    pub fn accepted(&self) -> Vec<Value> {
        self.events("accepted")
    }

    /// Every event of this name so far.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.running.stdout();
        lines
            .iter()
            .filter_map(|line| parse(line))
            .filter(|line| line["event"] == name)
            .collect()
    }

    /// Waits for an event of this name.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        self.running.line(name, |line| {
            parse(line).filter(|line| line["event"] == name)
        })
    }

    /// Connections and distinct lines so far.
    #[track_caller]
    pub fn totals(&mut self) -> (u64, u64) {
        let before = self.events("totals").len();
        self.running.tell("totals");
        // Those of before are read again in each look.
        let totals = until("totals", || self.events("totals").into_iter().nth(before));
        let number = |key: &str| totals[key].as_u64().expect("is a number");
        (number("connections"), number("lines"))
    }

    /// What the lines so far say before their numbers.
    #[track_caller]
    pub fn words(&mut self) -> Vec<String> {
        self.totals();
        let last = self.events("totals").pop().expect("there is one");
        let words = last["words"].as_array().expect("is a list").iter();
        words
            .map(|word| word.as_str().expect("is a text").to_owned())
            .collect()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// Ends it: its port is closed afterwards.
    pub fn stop(self) {
        drop(self);
    }
}

impl Steps {
    /// What the `n`th step of this name (`line`, `connect=10.88.0.2:7000`) gave: its value, or
    /// the errno's name.
    #[track_caller]
    pub fn nth(&self, step: &str, n: usize) -> Result<Value, String> {
        let found = self.0.iter().filter(|said| said["step"] == step).nth(n);
        let said = found.unwrap_or_else(|| panic!("step {step} number {n} did not run: {self:#?}"));
        match said["errno"].as_str() {
            Some(errno) => Err(errno.to_owned()),
            None => Ok(said["ok"].clone()),
        }
    }

    /// What the first step of this name gave.
    #[track_caller]
    pub fn of(&self, step: &str) -> Result<Value, String> {
        self.nth(step, 0)
    }

    /// The value of the first step of this name, which must have succeeded.
    #[track_caller]
    pub fn ok(&self, step: &str) -> Value {
        self.of(step)
            .unwrap_or_else(|errno| panic!("{step} failed with {errno}: {self:#?}"))
    }

    /// The answer of a `whoami` server that the `n`th `line` step read.
    #[track_caller]
    pub fn answer(&self, n: usize) -> Value {
        let line = self
            .nth("line", n)
            .unwrap_or_else(|errno| panic!("no answer came, {errno}: {self:#?}"));
        line.as_str()
            .and_then(parse)
            .unwrap_or_else(|| panic!("{line} is not an answer: {self:#?}"))
    }

    /// Panics unless every step succeeded.
    #[track_caller]
    pub fn all_ok(self) -> Self {
        assert!(
            self.0.iter().all(|said| said["errno"].is_null()),
            "a step failed: {self:#?}"
        );
        self
    }
}
