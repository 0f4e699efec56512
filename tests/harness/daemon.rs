//! The real daemon on a host.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use nix::sys::signal::Signal;
use serde_json::Value;

mod setup;

pub use setup::Setup;

use crate::{
    bpf,
    host::Host,
    process::{Finished, Running, tail},
    record::Record,
    sidetrack_bin,
    status::Status,
    wait::{DEADLINE, holds, within},
};

/// A running `sidetrack run`, killed on drop. When the test fails it prints its logs.
pub struct Daemon {
    host: Host,
    running: Option<Running>,
    instance: String,
    config: PathBuf,
    access: PathBuf,
    runtime_dir: PathBuf,
    told: Arc<Mutex<Vec<String>>>,
}

/// What a daemon holds in the kernel and the process: equal before and after a load, or it leaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Entries of its BPF hash maps, by name.
    pub map_entries: Vec<(String, usize)>,
    /// Live relays, as `connections --json` lists them.
    pub connections: usize,
}

impl Daemon {
    /// Waits until the daemon has told `message` to the service manager `times` times.
    #[track_caller]
    pub fn wait_told(&mut self, message: &str, times: usize) {
        let told = self.told.clone();
        let count = || {
            let told = told.lock().expect("lock");
            told.iter()
                .flat_map(|datagram| datagram.lines())
                .filter(|line| *line == message)
                .count()
        };
        let ended = within(DEADLINE, || {
            let ended = self.running().has_ended();
            (count() >= times || ended).then_some(ended)
        });
        match ended {
            Some(false) => {}
            Some(true) if count() >= times => {}
            Some(true) => panic!(
                "sidetrack ended before it told {message}\n{}",
                self.running().said()
            ),
            None => panic!("sidetrack did not tell {message} {times} times within {DEADLINE:?}"),
        }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it was not stopped")
    }

    /// Its process id.
    pub fn pid(&mut self) -> i32 {
        self.running().pid()
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Its runtime folder.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// Waits for a line of its log with `text` in it.
    #[track_caller]
    pub fn wait_log(&mut self, text: &str) -> String {
        self.running().error_line(text)
    }

    /// Its log so far.
    pub fn log(&mut self) -> String {
        self.running().stderr()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Stops it, and returns when none of its threads runs any more: they go on until one of them
    /// has taken the signal.
    #[track_caller]
    pub fn suspend(&mut self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid());
        holds("every thread of the daemon has stopped", || {
            let threads = fs::read_dir(&tasks).expect("read its threads").flatten();
            threads
                .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
                .all(|stat| stat.contains(") T "))
        });
    }

    /// SIGTERM; gives the exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::SIGTERM);
        self.wait_end()
    }

    /// Waits for its end; gives the exit code.
    #[track_caller]
    pub fn wait_end(&mut self) -> i32 {
        let ended = self
            .running
            .take()
            .expect("it was not stopped")
            .finish_within(DEADLINE);
        let code = ended.code();
        if code != 0 {
            println!("{ended}");
        }
        code
    }

    /// Access records so far.
    pub fn records(&self) -> Vec<Record> {
        let log = fs::read_to_string(&self.access).unwrap_or_default();
        // A line that is being written has no end yet.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(Record::parse).collect()
    }

    /// Waits until there are `count` access records; gives them in the order in which their
    /// connections began. They are written in the order in which they ended, and a client that
    /// has ended says nothing of when the daemon has seen that.
    #[track_caller]
    pub fn wait_records(&self, count: usize) -> Vec<Record> {
        let mut records = self.wait_for_records(&format!("{count} records"), |records| {
            records.len() >= count
        });
        records.sort_by(|one, other| one.time().cmp(other.time()));
        records
    }

    /// Waits until the access records satisfy `wanted`.
    #[track_caller]
    pub fn wait_for_records(
        &self,
        what: &str,
        mut wanted: impl FnMut(&[Record]) -> bool,
    ) -> Vec<Record> {
        let found = within(DEADLINE, || {
            Some(self.records()).filter(|records| wanted(records))
        });
        found.unwrap_or_else(|| {
            let records = self.records();
            panic!(
                "{}: waited {DEADLINE:?} in vain for {what}; there are {}",
                self.instance,
                records.len()
            )
        })
    }

    /// Waits for exactly one record and gives it.
    #[track_caller]
    pub fn only_record(&self) -> Record {
        let records = self.wait_records(1);
        assert_eq!(
            records.len(),
            1,
            "one connection has one record: {records:#?}"
        );
        records[0].clone()
    }

    /// Runs one of the commands that ask a daemon, `status` or `connections`.
    #[track_caller]
    pub fn ask(&self, command: &str) -> Value {
        self.ask_with(&[command])
    }

    /// The same with arguments.
    #[track_caller]
    pub fn ask_with(&self, command: &[&str]) -> Value {
        let mut asking = self
            .host
            .command_in(self.host.daemons().path(), sidetrack_bin());
        asking
            .args(command)
            .args(["--json", "--instance", &self.instance, "--runtime-dir"])
            .arg(&self.runtime_dir);
        let answer = Running::spawn(asking).finish().expect_code(0);
        serde_json::from_str(&answer.stdout)
            .unwrap_or_else(|error| panic!("{command:?} --json is no JSON, {error}: {answer}"))
    }

    /// Runs `status` for it, whatever it says.
    #[track_caller]
    pub fn status(&self) -> Status {
        Status::ask(&self.host, &self.instance, &self.runtime_dir)
    }

    /// Runs `detach` for it, from the cgroup that it was started in.
    #[track_caller]
    pub fn detach(&self) -> Finished {
        let mut detaching = self
            .host
            .command_in(self.host.daemons().path(), sidetrack_bin());
        detaching
            .args(["detach", "--instance", &self.instance, "--runtime-dir"])
            .arg(&self.runtime_dir);
        Running::spawn(detaching).finish()
    }

    /// What it holds now.
    #[track_caller]
    pub fn holdings(&mut self) -> Holdings {
        let pid = self.pid();
        let live = self.ask("connections");
        let list = live.as_array().or_else(|| live["connections"].as_array());
        Holdings {
            connections: list
                .unwrap_or_else(|| panic!("connections --json is no list: {live}"))
                .len(),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("read its descriptors")
                .count(),
            map_entries: bpf::hash_maps_of(pid),
        }
    }

    /// Waits until it holds no more than `before`; a leak is what stays.
    #[track_caller]
    pub fn wait_holdings(&mut self, before: &Holdings) {
        let mut last = None;
        let settled = within(DEADLINE, || {
            let now = self.holdings();
            let fine = now.connections <= before.connections
                && now.descriptors <= before.descriptors
                && now.map_entries == before.map_entries;
            last = Some(now);
            fine.then_some(())
        });
        assert!(
            settled.is_some(),
            "the daemon of {} holds more than before\nbefore: {before:#?}\nnow: {last:#?}",
            self.host.letter()
        );
    }

    /// Its resident memory in bytes.
    pub fn memory(&mut self) -> u64 {
        let statm =
            fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("read its memory");
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .expect("a number");
        pages * 4096
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let access = fs::read_to_string(&self.access).unwrap_or_default();
        let records: Vec<_> = access.lines().map(str::to_owned).collect();
        println!(
            "=== daemon {} ({} records)\n{}",
            self.instance,
            records.len(),
            tail(&records)
        );
        if let Some(running) = &self.running {
            println!("{}", running.said());
        }
    }
}
