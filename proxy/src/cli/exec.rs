//! `sidetrack exec`: one command and its children, redirected.

use std::{
    error::Error,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Exit, Failure};
use crate::{
    app::{App, Plan},
    config::{self, Config, RecordFormat},
    kernel::{
        Left,
        cgroup::{self, OwnCgroup},
        object,
        pins::{self, PinName, Pins},
        preflight::{self, Preflight},
        rules::Scope,
    },
    policy::Policy,
    record::RecordSink,
    telemetry,
};

mod child;
mod die;
mod signals;
pub mod stage;

use child::Ended;
use signals::Signals;

/// How long connections of what the command left running may go on after it.
const LINGER: Duration = Duration::from_secs(5);

/// Arguments of `exec`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack exec -- curl http://10.1.2.3:8080/\n  \
                  sidetrack exec --config mesh.toml --records /tmp/records -- ./service --port 80\n\n\
                  The command ends with sidetrack: if that is killed, the command is too. What the \
                  command has\nstarted and left running then goes on without redirection; with a configuration, connections\nof its rules that say \"block\" fail from then on."
)]
pub struct ExecArgs {
    /// The configuration; without it everything is passed through and recorded.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where access records go: "stderr", "off", or a file.
    #[arg(long, value_name = "WHERE", default_value = "stderr", value_parser = destination)]
    pub records: RecordsTo,
    /// Form of the access records.
    #[arg(long, value_name = "FORM", default_value = "text", value_parser = record_format)]
    pub format: RecordFormat,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<OsString>,
}

/// Where `exec` writes access records. Standard output belongs to the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordsTo {
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// This file.
    File(PathBuf),
}

fn destination(text: &str) -> Result<RecordsTo, &'static str> {
    match text {
        "" => Err("name \"stderr\", \"off\", or a file"),
        "stderr" => Ok(RecordsTo::Stderr),
        "off" => Ok(RecordsTo::Off),
        path => Ok(RecordsTo::File(path.into())),
    }
}

fn record_format(text: &str) -> Result<RecordFormat, &'static str> {
    match text {
        "json" => Ok(RecordFormat::Json),
        "text" => Ok(RecordFormat::Text),
        _ => Err("write json or text"),
    }
}

/// What `exec` does without a configuration.
const PASS_EVERYTHING: &str = "version = 1\n\
    [[outbound]]\n\
    name = \"exec\"\n\
    action = \"passthrough\"\n\
    fail = \"pass\"\n";

/// Runs the command; the exit code is its own.
///
/// # Errors
/// See [`Exit`].
pub fn run(args: ExecArgs) -> Result<Exit, Failure> {
    let config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::parse(PASS_EVERYTHING, Path::new("exec"))?,
    };
    let policy = Policy::build(config, Scope::Everything, 1, None)
        .map_err(|error| Failure::new(Exit::Config, "the configuration's files").because(&error))?;
    let config = policy.config.clone();
    object::embedded().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let preflight = Preflight::probe(object::EMBEDDED, config.limits.connections);
    match args.config {
        Some(_) => preflight.require()?,
        None => preflight.require_unpinned()?,
    }
    // The command's own standard error is not the place for a daemon's log.
    let quiet = config::Log {
        filter: "warn".into(),
        ..config.log.clone()
    };
    telemetry::start(if args.config.is_some() {
        &config.log
    } else {
        &quiet
    })
    .map_err(|error| Failure::new(Exit::Config, "log").because(&error))?;
    let limit = nofile_limit();
    super::run::raise_file_limit();
    let sink = match &args.records {
        RecordsTo::Stderr => RecordSink::stderr(args.format),
        RecordsTo::Off => Ok(RecordSink::off()),
        RecordsTo::File(path) => RecordSink::file(path, args.format),
    }
    .map_err(|error| Failure::new(Exit::Failed, "opening the access record").because(&error))?;

    let mount = preflight::cgroup2_mount().map_err(|error| {
        Failure::new(Exit::Missing, "finding the cgroup2 hierarchy").because(&error)
    })?;
    pins::sweep_dead_execs(&mount);
    // Rules that protect go on for what the command leaves running, and if this is killed;
    // without a configuration there is nothing to protect.
    let pins = match args.config {
        Some(_) => Some(
            Pins::open(&PinName::exec(std::process::id()))
                .map_err(|error| super::run::pin_failure(&error))?,
        ),
        None => None,
    };
    let runtime = super::run::runtime(None)?;
    let mut signals = Signals::install(&runtime)?;
    let cgroups = Cgroups::make(&mount)?;
    let ended = runtime.block_on(async {
        if let Some(number) = signals.arrived() {
            return Ok(Ended::Killed(number));
        }
        let plan = Plan {
            policy,
            scope: Scope::Everything,
            governed: cgroups.command.clone(),
            proxy: super::run::proxy_cgroup(&cgroups.proxy)?,
            mount: mount.clone(),
            sink: sink.clone(),
            pins,
            left: Left::InForce,
        };
        let app = App::start(plan).await.map_err(super::run::start_failure)?;
        let ended = child::run(&args.command, &cgroups.command, limit, &mut signals).await;
        // What the command left behind may still be moving its last bytes.
        app.drain(config.daemon.drain.min(LINGER)).await;
        ended
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    sink.flush(Duration::from_secs(5));
    drop(cgroups);
    pins::sweep_dead_execs(&mount);
    match ended? {
        Ended::Exited(code) => Ok(Exit::Command(code)),
        Ended::Killed(signal) => Ok(die::die_by(signal)),
    }
}

/// The cgroups of one `exec`: dropped in this order. The command's goes with the parent, which
/// waits for what the command left behind.
struct Cgroups {
    command: PathBuf,
    proxy: OwnCgroup,
    _parent: OwnCgroup,
}

impl Cgroups {
    fn make(mount: &Path) -> Result<Self, Failure> {
        let doing = "making cgroups for the command";
        let missing =
            |error: &(dyn Error + 'static)| Failure::new(Exit::Missing, doing).because(error);
        let occupied = |error| super::run::own_cgroup_failure(doing, &error);
        let current = cgroup::current(mount).map_err(|error| missing(&error))?;
        let name = cgroup::exec_name(std::process::id());
        let parent = OwnCgroup::create(&current, &name).map_err(occupied)?;
        let command = parent.path().join("command");
        match fs::create_dir(&command) {
            // Left by a process of the same id; the parent's making has seen that it is empty.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(missing(&error));
            }
            _ => {}
        }
        let mut proxy = OwnCgroup::create(parent.path(), "proxy").map_err(occupied)?;
        proxy.enter(&current).map_err(occupied)?;
        Ok(Self {
            command,
            proxy,
            _parent: parent,
        })
    }
}

/// The limits that the command is to have: those of the caller, not those of the proxy.
fn nofile_limit() -> Option<(u64, u64)> {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).ok()
}
