//! Processes of the test, their output collected while they run.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::{DEADLINE, within};

type Lines = Arc<Mutex<Vec<String>>>;

/// A process that is killed on drop.
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

/// A process that ended.
#[derive(Debug)]
pub struct Finished {
    /// The command.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Running {
    /// Starts `command` with its three streams connected to the test.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let name = display(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            collect(child.stdout.take().expect("is piped"), stdout.clone()),
            collect(child.stderr.take().expect("is piped"), stderr.clone()),
        ];
        Self {
            name,
            stdin: child.stdin.take(),
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// Its process id: that of the program itself, since the shells before it exec'd.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().expect("lock").clone()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("lock").join("\n")
    }

    /// Waits for a line of standard output that `wanted` makes something of.
    #[track_caller]
    pub fn line<T>(&mut self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.either(what, |stdout, _| {
            stdout.iter().find_map(|line| wanted(line))
        })
    }

    /// Waits for a line of standard error that contains `text`.
    #[track_caller]
    pub fn error_line(&mut self, text: &str) -> String {
        self.either(text, |_, stderr| {
            stderr.iter().find(|line| line.contains(text)).cloned()
        })
    }

    #[track_caller]
    fn either<T>(
        &mut self,
        what: &str,
        mut probe: impl FnMut(&[String], &[String]) -> Option<T>,
    ) -> T {
        let found = within(DEADLINE, || {
            let ended = self.has_ended();
            let found = probe(
                &self.stdout.lock().expect("lock"),
                &self.stderr.lock().expect("lock"),
            );
            match (found, ended) {
                (Some(found), _) => Some(Some(found)),
                (None, true) => Some(None),
                (None, false) => None,
            }
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => panic!("{} ended before: {what}\n{}", self.name, self.said()),
            None => panic!(
                "{} did not within {DEADLINE:?}: {what}\n{}",
                self.name,
                self.said()
            ),
        }
    }

    /// Whether it has ended; what it started may hold its output open.
    pub fn is_dead(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Whether it has ended and all its output was read.
    pub fn has_ended(&mut self) -> bool {
        self.is_dead() && self.readers.iter().all(JoinHandle::is_finished)
    }

    /// What it wrote, for a message.
    pub fn said(&self) -> String {
        format!(
            "--- standard output\n{}\n--- standard error\n{}\n---",
            tail(&self.stdout()),
            tail(&self.stderr.lock().expect("lock"))
        )
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("write to {}: {error}", self.name));
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal a process of our own");
    }

    /// Waits for its end, closing its standard input before.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        self.close_stdin();
        self.finish_within(DEADLINE)
    }

    /// Waits for its end for this long, with its standard input left open.
    #[track_caller]
    pub fn finish_within(mut self, time: Duration) -> Finished {
        let Some(status) = within(time, || self.child.try_wait().expect("wait")) else {
            panic!("{} did not end within {time:?}\n{}", self.name, self.said());
        };
        // A grandchild may hold the pipes open; its output is then not part of the answer.
        within(Duration::from_secs(2), || {
            self.readers
                .iter()
                .all(JoinHandle::is_finished)
                .then_some(())
        });
        Finished {
            name: self.name.clone(),
            status,
            stdout: self.stdout().join("\n"),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Its exit code; 128 and the signal's number if a signal ended it, as shells say it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Panics unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "exit code of {self}");
        self
    }

    /// Panics unless its standard error contains each of `words`, in either case.
    #[track_caller]
    pub fn expect_words(self, words: &[&str]) -> Self {
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "the message of {self}\ndoes not name {word:?}"
            );
        }
        self
    }

    /// What it printed has all of these words.
    #[track_caller]
    pub fn expect_said(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "{self}\ndoes not say {word:?}");
        }
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({})\n--- standard output\n{}\n--- standard error\n{}\n---",
            self.name, self.status, self.stdout, self.stderr
        )
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, lines: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            lines.lock().expect("lock").push(line);
        }
    })
}

/// The last lines, enough to see what went wrong.
pub fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The words that matter: not those that carry a program into its host.
fn display(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let carried = words.iter().position(|word| word.starts_with("--net="));
    words[carried.map_or(0, |at| at + 2)..].join(" ")
}
