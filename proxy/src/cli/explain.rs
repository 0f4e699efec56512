//! `sidetrack explain`: which rule decides, and why.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    process,
};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sidetrack_abi::{Query, Verdict, executable::NO_EXECUTABLE, rules::RULE_UNCLASSIFIED};

use super::{Exit, Failure, InstanceArgs, print, print_json, sockets::known};
use crate::{
    config::{Config, Protocol},
    control::Question,
    kernel::{
        cgroup, executable,
        maps::pinned::{Pinned, PinnedError},
        pins::PinName,
        preflight, process as processes,
        rules::{RuleTables, Scope, Task},
        sys,
    },
    netns::{Namespace, NamespaceError, named::Named, source::of_process},
    policy::explain::{Connecting, Explanation, Incoming, explain, incoming},
};

mod listener;
mod report;

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack explain 10.1.2.3:8080 --pid 4711\n  \
                  sidetrack explain api.example.org:443 --cgroup /web.slice --uid 33\n  \
                  sidetrack explain 10.1.2.3:8080 --exe /usr/bin/curl --config sidetrack.toml\n  \
                  sidetrack explain --inbound 8080 --from 10.9.0.5\n  \
                  sidetrack explain --listener web --host www.example.org --path /status"
)]
pub struct ExplainArgs {
    /// Where the connection would go: an address or a name, with a port.
    #[arg(value_name = "DEST:PORT", required_unless_present_any = ["inbound", "listener"])]
    pub to: Option<String>,
    /// Of this protocol.
    #[arg(long, default_value = "tcp")]
    pub protocol: Which,
    /// Made by this process. Without, by one like this command itself.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Made by this user.
    #[arg(long)]
    pub uid: Option<u32>,
    /// Made by this group.
    #[arg(long)]
    pub gid: Option<u32>,
    /// Made by this executable, a whole path. Without, by that of the process.
    #[arg(long, value_name = "PATH")]
    pub exe: Option<String>,
    /// Made in this cgroup, a path below the cgroup2 root.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Made in the network namespace at this path. Without, in that of the process.
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// Instead: who comes to this port of this host.
    #[arg(long, value_name = "PORT", conflicts_with = "to")]
    pub inbound: Option<u16>,
    /// With --inbound or --listener: from this address.
    #[arg(long, value_name = "ADDR", conflicts_with = "to")]
    pub from: Option<IpAddr>,
    /// Which listener, and which request there.
    #[command(flatten)]
    pub at: listener::ListenerArgs,
    /// By the rules of this file, whatever is in force.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// By the rules of this daemon.
    #[command(flatten)]
    pub of: InstanceArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Everything that is said of connections.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    explained: Vec<Explanation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<String>,
    /// What the kernel's own tables say of each.
    #[serde(default)]
    kernel: Vec<InKernel>,
}

/// What the kernel's own tables say.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InKernel {
    /// The same.
    Agrees,
    /// Not yet the same: the proxy decides.
    Unclassified,
    /// Something else.
    Differs(String),
    /// They could not be read.
    NotRead(String),
}

/// Explains.
///
/// # Errors
/// [`Exit::Failed`] without a daemon, and if the kernel decides otherwise, after it was printed.
pub fn run(args: ExplainArgs) -> Result<Exit, Failure> {
    match (&args.to, args.inbound, &args.at.listener) {
        (_, _, Some(name)) => listener::run(&args, name),
        (_, Some(port), None) => of_port(&args, port),
        (Some(to), None, None) => of_connection(&args, to),
        (None, None, None) => Err(Failure::new(Exit::Usage, "no destination")),
    }
}

fn of_port(args: &ExplainArgs, port: u16) -> Result<Exit, Failure> {
    #[derive(Serialize, Deserialize)]
    struct SaidOfPort {
        explained: Incoming,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now: Option<String>,
    }
    let from = args.from;
    let said = match &args.config {
        Some(file) => SaidOfPort {
            explained: incoming(&Config::load(file)?, port, from),
            now: None,
        },
        None => understood(args.of.ask(Question::ExplainInbound { port, from })?)?,
    };
    if args.json {
        print_json(&said)?;
    } else {
        print(&report::of_port(&said.explained, said.now.as_deref()))?;
    }
    Ok(Exit::Done)
}

fn of_connection(args: &ExplainArgs, to: &str) -> Result<Exit, Failure> {
    let to: Vec<SocketAddr> = to
        .to_socket_addrs()
        .map_err(|error| {
            let failed = |exit| Failure::new(exit, format!("looking up {to:?}")).because(&error);
            match error.kind() {
                // No port, or none that is a number.
                std::io::ErrorKind::InvalidInput => failed(Exit::Usage).fix(
                    "give an address or a name with a port, like 10.1.2.3:8080 or [fd00::1]:8080",
                ),
                _ => failed(Exit::Failed).fix("give its address, if no resolver knows the name"),
            }
        })?
        .collect();
    let udp = args.protocol == Which::Udp;
    let said = match &args.config {
        Some(file) => {
            let config = Config::load(file)?;
            let tables = RuleTables::compile(&config, Scope::Selections, 0);
            let task = connecting(args, tables.asks_for_executables())?;
            if !tables.netns_asked().is_empty() {
                let own = own_namespace()?;
                tables.know_namespaces(&Named::now(tables.netns_asked(), &own, task.netns));
            }
            let protocol = protocol(args);
            let to = to.iter();
            Said {
                explained: to
                    .map(|to| explain(&config, &tables, protocol, *to, &task))
                    .collect(),
                now: None,
                netns: None,
                kernel: Vec::new(),
            }
        }
        None => {
            let task = connecting(args, true)?;
            let mut said: Said = understood(args.of.ask(Question::Explain { to, udp, task })?)?;
            said.kernel = in_kernel(args, &said.explained);
            if let Some(pid) = args.pid {
                said.now = said.now.map(|now| now + &other_namespace(pid, &said.netns));
            }
            said
        }
    };
    if args.json {
        print_json(&said)?;
    } else {
        print(&report::of_connections(&said))?;
    }
    let differs = |one: &InKernel| matches!(one, InKernel::Differs(_));
    Ok(match said.kernel.iter().any(differs) {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

fn protocol(args: &ExplainArgs) -> Protocol {
    match args.protocol {
        Which::Tcp => Protocol::Tcp,
        Which::Udp => Protocol::Udp,
    }
}

fn understood<T: for<'a> Deserialize<'a>>(answer: serde_json::Value) -> Result<T, Failure> {
    known(&answer, "explaining")?;
    T::deserialize(answer).map_err(|error| {
        Failure::new(Exit::Failed, "understanding the daemon's answer")
            .because(&error)
            .fix("use the binary that the daemon was started from, or restart the daemon")
    })
}

/// Who would connect: what is said of it, the rest from the process. Not everybody may see what runs
/// in a process of others: that fails only if it is asked for.
fn connecting(args: &ExplainArgs, with_executable: bool) -> Result<Connecting, Failure> {
    let pid = args.pid.unwrap_or_else(process::id);
    let gone = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Exit::Failed, format!("reading /proc/{pid}"))
            .because(error)
            .fix("name a process that is there, or --cgroup, --uid, --gid and --exe")
    };
    let cgroup = match &args.cgroup {
        Some(path) => format!("/{}", path.trim_matches('/')),
        None => {
            let mount = preflight::cgroup2_mount().map_err(|error| gone(&error))?;
            let folder = processes::cgroup_of(&mount, pid).map_err(|error| gone(&error))?;
            cgroup::below(&mount, &folder)
        }
    };
    let ids = processes::uid(pid).zip(processes::gid(pid));
    let (uid, gid) =
        ids.ok_or_else(|| gone(&std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    let exe = match &args.exe {
        Some(path) => Some(path.clone()),
        None if with_executable => executable::of_process(pid).map_err(|error| gone(&error))?,
        None => None,
    };
    Ok(Connecting {
        cgroup,
        uid: args.uid.unwrap_or(uid),
        gid: args.gid.unwrap_or(gid),
        exe,
        netns: match &args.netns {
            Some(path) => Some(cookie(path).map_err(|error| {
                Failure::new(Exit::Failed, "looking at --netns").because(&error)
            })?),
            // What it is may not matter.
            None => cookie(&of_process(pid)).ok(),
        },
    })
}

fn own_namespace() -> Result<Namespace, Failure> {
    sys::netns_cookie()
        .and_then(Namespace::own)
        .map_err(|error| {
            Failure::new(Exit::Failed, "opening this command's own network namespace")
                .because(&error)
                .fix("mount /proc")
        })
}

/// The cookie of the network namespace at a path.
fn cookie(path: &Path) -> Result<u64, NamespaceError> {
    let failed = |source| NamespaceError::Open {
        path: path.into(),
        source,
    };
    let own = sys::netns_cookie()
        .and_then(Namespace::own)
        .map_err(failed)?;
    Namespace::at(path, &own).map(|namespace| namespace.cookie())
}

/// Asks the kernel's own tables the same.
fn in_kernel(args: &ExplainArgs, explained: &[Explanation]) -> Vec<InKernel> {
    let read = |explanation: &Explanation| -> Result<InKernel, Box<dyn std::error::Error>> {
        let pinned = match Pinned::open(&PinName::of(&args.of.instance)) {
            Err(error @ PinnedError::NoRules { .. }) => {
                return Ok(InKernel::Differs(error.to_string()));
            }
            pinned => pinned?,
        };
        let mount = preflight::cgroup2_mount()?;
        let Connecting {
            cgroup,
            uid,
            gid,
            exe,
            netns,
        } = &explanation.task;
        let selection = pinned.selection(
            &mount,
            &Task {
                cgroup,
                uid: *uid,
                gid: Some(*gid),
                executable: exe
                    .as_deref()
                    .map_or(NO_EXECUTABLE, |path| pinned.executable(path)),
                netns: *netns,
            },
        )?;
        let verdict = pinned.decide(&Query {
            destination: explanation.destination.into(),
            selection,
            protocol: protocol(args).number(),
        });
        Ok(compare(explanation, verdict, pinned.generation()))
    };
    let each = explained.iter();
    each.map(|one| read(one).unwrap_or_else(|error| InKernel::NotRead(error.to_string())))
        .collect()
}

fn compare(explanation: &Explanation, verdict: Verdict, generation: u32) -> InKernel {
    let (name, index) = match verdict {
        Verdict::Unmatched => ("unmatched", None),
        Verdict::Ignore(rule) => ("ignore", Some(rule.index)),
        Verdict::Deny(rule) => ("deny", Some(rule.index)),
        Verdict::Redirect(rule) => ("redirect", Some(rule.index)),
        Verdict::Pass(rule) => ("pass", Some(rule.index)),
    };
    let decision = &explanation.decision;
    let same_index = decision.index.is_none() || decision.index == index;
    if generation != explanation.generation {
        InKernel::Differs(format!(
            "the kernel's rules are of generation {generation}, the daemon's of {}",
            explanation.generation
        ))
    } else if !explanation.governed || (name == decision.verdict && same_index) {
        InKernel::Agrees
    } else if index == Some(RULE_UNCLASSIFIED) {
        InKernel::Unclassified
    } else {
        let by = index.map_or_else(String::new, |index| format!(" by the rule number {index}"));
        InKernel::Differs(format!("the kernel's tables say {name}{by}"))
    }
}

fn other_namespace(pid: u32, netns: &Option<String>) -> String {
    let own = std::fs::read_link(format!("/proc/{pid}/ns/net"));
    match (own, netns) {
        (Ok(own), Some(netns)) if own.as_os_str() != netns.as_str() => format!(
            "; process {pid} is in another one, {}, of which `sidetrack status` says whether it is served",
            own.display()
        ),
        _ => String::new(),
    }
}
