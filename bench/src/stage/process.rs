//! Programs that run on a host.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Trouble;

/// How long one may take until it serves: ten thousand rules take a debug build some seconds.
const START: Duration = Duration::from_secs(60);
/// How long one may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(2);
/// Lines of a log that stand in an error.
const TAIL: usize = 20;
/// With which `sidetrack` ends where a privilege or a feature of the kernel is missing.
const MISSING: i32 = 77;
/// `TCP_LISTEN`, as /proc/net/tcp writes it.
const LISTEN: &str = "0A";

/// What becomes of a program's streams. Its standard error always goes to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Nothing to read, and its output to the log.
    Log,
    /// Both are pipes, for [`Process::talk`].
    Talk,
}

/// A program that runs; ended and reaped on drop.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    afterwards: Option<Command>,
}

/// What a program that ran to its end has printed.
pub type Output = String;

impl Process {
    pub(super) fn spawn(
        name: String,
        command: &mut Command,
        streams: Streams,
        log: PathBuf,
    ) -> Result<Self, Trouble> {
        let doing = || format!("starting {name}");
        let failed = |error| Trouble::new(format!("{}: its log {}", doing(), log.display()), error);
        let file = File::create(&log).map_err(failed)?;
        command.stderr(file.try_clone().map_err(failed)?);
        match streams {
            Streams::Log => command.stdin(Stdio::null()).stdout(file),
            Streams::Talk => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
        };
        let child = command
            .spawn()
            .map_err(|error| Trouble::new(doing(), error).fix("install sh and nsenter"))?;
        Ok(Self {
            child,
            name,
            log,
            afterwards: None,
        })
    }

    /// A command to run when it has ended.
    pub fn afterwards(&mut self, command: Command) {
        self.afterwards = Some(command);
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its streams, once.
    ///
    /// # Errors
    /// They are no pipes, or were taken.
    pub fn talk(&mut self) -> Result<(ChildStdin, ChildStdout), Trouble> {
        match (self.child.stdin.take(), self.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((stdin, stdout)),
            _ => Err(Trouble::new(
                format!("talking to {}", self.name),
                "its streams are no pipes, or somebody has them",
            )),
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// A trouble with it, with the last lines of its log.
    pub fn trouble(&mut self, doing: &str, cause: &str) -> Trouble {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.len().saturating_sub(TAIL);
        let tail = lines.get(tail..).unwrap_or_default().join("\n    ");
        let (cause, missing) = match self.ended() {
            Some(status) => (
                format!("{cause}; it ended ({status})"),
                status.code() == Some(MISSING),
            ),
            None => (cause.to_owned(), false),
        };
        let doing = format!("{}: {doing}", self.name);
        let cause = match tail.is_empty() {
            true => format!("{cause}, and its log is empty"),
            false => format!("{cause}; its log ends with\n    {tail}"),
        };
        match missing {
            true => Trouble::missing(doing, cause),
            false => Trouble::new(doing, cause),
        }
    }

    /// Waits until `ready`.
    ///
    /// # Errors
    /// It ends before, or takes too long, or asking fails.
    pub fn wait_until(
        &mut self,
        what: &str,
        mut ready: impl FnMut() -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + START;
        loop {
            if ready()? {
                return Ok(());
            }
            if self.ended().is_some() {
                return Err(self.trouble(&format!("waiting until {what}"), "it has not come"));
            }
            if Instant::now() >= deadline {
                let cause = format!("not within {} seconds", START.as_secs());
                return Err(self.trouble(&format!("waiting until {what}"), &cause));
            }
            thread::sleep(RETRY);
        }
    }

    /// Waits until something listens at `address` in the network namespace that it is in.
    ///
    /// # Errors
    /// It ends before, or takes too long.
    pub fn wait_listening(&mut self, address: SocketAddr) -> Result<(), Trouble> {
        let table = match address.ip() {
            IpAddr::V4(_) => "tcp",
            IpAddr::V6(_) => "tcp6",
        };
        let path = format!("/proc/{}/net/{table}", self.id());
        let wanted = as_in_proc(address);
        self.wait_until(&format!("something listens at {address}"), || {
            let sockets = fs::read_to_string(&path).unwrap_or_default();
            Ok(sockets.lines().any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                fields.next() == Some(&wanted) && fields.nth(1) == Some(LISTEN)
            }))
        })
    }

    fn end(&mut self) {
        if self.ended().is_none() {
            if let Ok(id) = i32::try_from(self.id()) {
                // It is not reaped yet, so that the id is still its own.
                let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            }
            let deadline = Instant::now() + END;
            while self.ended().is_none() && Instant::now() < deadline {
                thread::sleep(RETRY);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if let Some(command) = &mut self.afterwards {
            let _ = finish(command);
        }
    }
}

/// `0200630A:1B58`: the address as words of the machine's byte order, then the port.
fn as_in_proc(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

/// Runs it to its end; an error if it fails.
pub(crate) fn finish(command: &mut Command) -> Result<Output, Trouble> {
    finish_with(command, "")
}

/// The same with something on its standard input.
pub(crate) fn finish_with(command: &mut Command, input: &str) -> Result<Output, Trouble> {
    let doing = words_of(command);
    let failed = |error: std::io::Error| Trouble::new(&doing, error);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let program = Path::new(command.get_program()).display();
            failed(error).fix(format!("install {program}"))
        })?;
    // What it reads, it reads before it says much: iptables-restore is the only one.
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(error));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let cause = format!("{}: {}", output.status, said.trim());
    Err(Trouble::new(doing, cause))
}

/// The words that matter: not those that carry a program to its host.
fn words_of(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let carried = words.iter().position(|word| word.starts_with("--net="));
    let own = carried.map_or(0, |at| at + 2);
    format!("`{}`", words.get(own..).unwrap_or_default().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_kernel_writes_it() {
        let v4 = as_in_proc("10.99.0.2:7000".parse().unwrap());
        let v6 = as_in_proc("[::1]:80".parse().unwrap());
        if cfg!(target_endian = "little") {
            assert_eq!(v4, "0200630A:1B58");
            assert_eq!(v6, "00000000000000000000000001000000:0050");
        }
    }

    #[test]
    fn a_listening_socket_is_waited_for_and_an_end_before_is_said_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = |script: &str| {
            let log = folder.path().join("log");
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Process::spawn("sh".into(), &mut command, Streams::Talk, log).unwrap()
        };
        let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = here.local_addr().unwrap();
        spawn("read line").wait_listening(address).unwrap();
        drop(here);
        let mut ending = spawn("echo no such thing >&2; exit 3");
        let error = ending.wait_listening(address).unwrap_err().to_string();
        assert!(error.contains("no such thing"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
