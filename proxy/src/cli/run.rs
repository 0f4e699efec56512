//! `sidetrack run`: the daemon.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    task::{Context, Waker},
    time::Duration,
};

use clap::Args;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use super::{Exit, Failure};
use crate::{
    app::{self, App, Daemon, Plan, ProxyCgroup, StartError},
    config::Config,
    control::{self, Control, lock::InstanceLock},
    kernel::{
        Left, LoadError,
        cgroup::{self, OwnCgroup, OwnCgroupError},
        object,
        pins::{self, PinError, PinName, Pins},
        preflight::{self, Preflight},
        rules::Scope,
    },
    policy::Policy,
    record::RecordSink,
    telemetry,
};

mod plain;
mod simulate;

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  sidetrack run --config /etc/sidetrack/sidetrack.toml\n  \
                  sidetrack run --config sidetrack.toml --simulate"
)]
pub struct RunArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print what a start would attach, and where, and change nothing.
    #[arg(long)]
    pub simulate: bool,
    /// Print JSON.
    #[arg(long, requires = "simulate")]
    pub json: bool,
}

/// How long records may take to reach their file at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Runs until SIGTERM.
///
/// # Errors
/// See [`Exit`].
pub fn run(args: RunArgs) -> Result<Exit, Failure> {
    let config = Config::load(&args.config)?;
    if args.simulate {
        return simulate::run(&config, args.json);
    }
    if !config.intercepts {
        return plain::run(config);
    }
    let name = PinName::of(&config.daemon.instance);
    let build = |config| {
        Policy::build(
            config,
            Scope::Selections,
            pins::next_generation(&name),
            None,
        )
        .map_err(|error| Failure::new(Exit::Config, "the configuration's files").because(&error))
    };
    let mut policy = build(config)?;
    let config = policy.config.clone();
    object::embedded().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    Preflight::probe(object::EMBEDDED, config.limits.connections).require()?;
    telemetry::start(&config.log)
        .map_err(|error| Failure::new(Exit::Config, "log").because(&error))?;
    raise_file_limit();

    let runtime = runtime(config.daemon.workers.map(|workers| workers.get() as usize))?;
    let signals = Signals::install(&runtime)?;
    let instance = &config.daemon.instance;
    let _lock = lock(&config)?;
    let mount = preflight::cgroup2_mount().map_err(|error| {
        Failure::new(Exit::Missing, "finding the cgroup2 hierarchy").because(&error)
    })?;
    let governed = app::governed(&config, &mount);
    if !governed.is_dir() {
        return Err(Failure::new(
            Exit::Config,
            format!(
                "intercept.cgroup {:?}: {} does not exist",
                config.intercept.cgroup,
                governed.display()
            ),
        )
        .fix("create the cgroup before the daemon starts, or name one above it that lasts"));
    }
    let pins = Pins::open(&name).map_err(|error| pin_failure(&error))?;
    if policy.generation != pins::next_generation(&name) {
        // Whoever had the pins until now has reloaded meanwhile.
        policy = build(config.clone())?;
    }
    let own = own_cgroup(&mount, &cgroup::own_name(instance))?;
    let sink = RecordSink::from_config(&config.log)
        .map_err(|error| Failure::new(Exit::Config, "log.access_file").because(&error))?;

    let exit = runtime.block_on(async {
        let plan = Plan {
            policy,
            scope: Scope::Selections,
            governed,
            proxy: proxy_cgroup(&own)?,
            mount,
            sink: sink.clone(),
            pins: Some(pins),
            left: Left::InForce,
        };
        serve(&config, plan, signals).await
    });
    // Tasks that the deadline cut off end here, so that their records are in the queue.
    runtime.shutdown_timeout(Duration::from_secs(1));
    sink.flush(FLUSH);
    drop(own);
    exit
}

async fn serve(config: &Config, plan: Plan, mut signals: Signals) -> Result<Exit, Failure> {
    let control = control(config)?;
    if signals.end_asked() {
        return Ok(Exit::Done);
    }
    let app = App::start(plan).await.map_err(start_failure)?;
    if signals.end_asked() {
        // Nobody was told that it is ready: it is as if it had not been.
        app.redirector.will_leave(Left::AsFound);
        app.drain(Duration::ZERO).await;
        return Ok(Exit::Done);
    }
    let cgroup = app.governed().display().to_string();
    let daemon = Daemon::Intercepting(app);
    let ready = format!("ready: connections are redirected at {cgroup}");
    let ended = until_asked_to_end(config, &daemon, control, &mut signals, &ready).await;
    if ended.at_once {
        tracing::info!(drained = ended.drained, "stopped and detached");
    } else {
        tracing::info!(
            drained = ended.drained,
            "stopped; rules stay in force without a proxy until a daemon runs again or \
             `sidetrack detach` removes them"
        );
    }
    Ok(ended.exit())
}

/// The control socket of an instance.
fn control(config: &Config) -> Result<Control, Failure> {
    let path = control::socket_path(&config.daemon.runtime_dir, &config.daemon.instance);
    Control::bind(path.clone()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("binding the control socket {}", path.display()),
        )
        .because(&error)
    })
}

/// The lock of an instance.
fn lock(config: &Config) -> Result<InstanceLock, Failure> {
    InstanceLock::take(&config.daemon.runtime_dir, &config.daemon.instance).map_err(|error| {
        Failure::new(Exit::Failed, "taking the instance's lock")
            .because(&error)
            .fix("stop that daemon, or give this one another daemon.instance or daemon.runtime_dir")
    })
}

/// How a daemon ended.
struct Ended {
    /// It was asked to leave nothing behind, and waited for nobody.
    at_once: bool,
    /// No connection had to be reset.
    drained: bool,
}

impl Ended {
    fn exit(&self) -> Exit {
        if self.drained || self.at_once {
            Exit::Done
        } else {
            Exit::Failed
        }
    }
}

/// Runs a daemon that has started, until it has drained.
async fn until_asked_to_end(
    config: &Config,
    daemon: &Daemon,
    control: Control,
    signals: &mut Signals,
    ready: &str,
) -> Ended {
    let (detach, mut detaching) = watch::channel(false);
    let control = tokio::spawn(control.serve(daemon.clone(), detach));
    notify(&[NotifyState::Ready]);
    tracing::info!(instance = %config.daemon.instance, "{ready}");
    let mut reloading = JoinSet::new();
    let at_once = loop {
        tokio::select! {
            _ = signals.terminate.recv() => break false,
            _ = signals.interrupt.recv() => break false,
            _ = detaching.wait_for(|detach| *detach) => break true,
            // Those that arrive while it reloads are one.
            _ = signals.hangup.recv(), if reloading.is_empty() => {
                reloading.spawn(reload(daemon.clone()));
            }
            Some(_) = reloading.join_next() => {}
        }
    };
    reloading.shutdown().await;
    if let (Daemon::Intercepting(app), true) = (daemon, at_once) {
        app.redirector.will_leave(Left::Nothing);
    }
    notify(&[NotifyState::Stopping]);
    // A reload may have changed it.
    let drain = daemon.data().policy.load().config.daemon.drain;
    let within = if at_once { Duration::ZERO } else { drain };
    tracing::info!(connections = daemon.data().live.count(), deadline = ?within, "draining");
    let drained = tokio::select! {
        drained = daemon.drain(within) => drained,
        // Whoever asks twice does not want to wait.
        _ = signals.terminate.recv() => daemon.drain(Duration::ZERO).await,
        _ = signals.interrupt.recv() => daemon.drain(Duration::ZERO).await,
    };
    control.abort();
    let _ = control.await;
    Ended { at_once, drained }
}

async fn reload(daemon: Daemon) {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now().ok());
    notify(&state);
    match daemon.reload().await {
        Ok(generation) => tracing::info!(generation, "reloaded"),
        Err(error) => tracing::error!("not reloaded, everything is as it was: {error}"),
    }
    notify(&[NotifyState::Ready]);
}

/// Tells systemd, if it started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::warn!(%error, "telling the service manager");
    }
}

/// The signals of a daemon; installed before anything is made, so that none ends it half-way.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install(runtime: &tokio::runtime::Runtime) -> Result<Self, Failure> {
        let _inside = runtime.enter();
        let install = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, "installing a signal handler").because(&error)
            })
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
            hangup: install(SignalKind::hangup())?,
        })
    }

    /// Whether one that ends the daemon has arrived, without waiting.
    fn end_asked(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.terminate.poll_recv(&mut cx).is_ready() || self.interrupt.poll_recv(&mut cx).is_ready()
    }
}

/// A privilege or feature that is missing stays so, and a service manager does not try again. What
/// the kernel lacks at the moment, memory or an answer, it may have in the next.
pub(super) fn start_failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Load(LoadError::Pins(_))
        | StartError::Listen(_)
        | StartError::Namespace(_)
        | StartError::Bind(_)
        | StartError::Gateway { .. } => Exit::Failed,
        StartError::Load(_) | StartError::Kernel(_) if is_lasting(&error) => Exit::Missing,
        StartError::Load(_) | StartError::Kernel(_) => Exit::Failed,
    };
    Failure::new(exit, "starting the redirection").because(&error)
}

fn is_lasting(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    let mut errno = None;
    while let (Some(error), None) = (cause, errno) {
        errno = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        cause = error.source();
    }
    // What no errno is behind is of the object or of the host.
    errno.is_none_or(|errno| {
        matches!(
            errno,
            libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP
        )
    })
}

/// Nobody else may have them, and they need a file system.
pub(super) fn pin_failure(error: &PinError) -> Failure {
    let exit = match error {
        PinError::NoBpffs(_) => Exit::Missing,
        PinError::Held { .. } | PinError::File { .. } => Exit::Failed,
    };
    Failure::new(exit, "taking the instance's pins").because(error)
}

pub(super) fn runtime(workers: Option<usize>) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder
        .thread_name("sidetrack")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, "starting worker threads").because(&error))
}

/// Makes the proxy's own cgroup and enters it, before any socket is made: a socket belongs to
/// the cgroup in which it is made.
pub(super) fn own_cgroup(mount: &Path, name: &str) -> Result<OwnCgroup, Failure> {
    let doing = "making a cgroup for the proxy";
    let current = cgroup::current(mount)
        .map_err(|error| Failure::new(Exit::Missing, doing).because(&error))?;
    let failure = |error| own_cgroup_failure(doing, &error);
    let mut own = OwnCgroup::create(&current, name).map_err(failure)?;
    own.enter(&current).map_err(failure)?;
    Ok(own)
}

pub(super) fn own_cgroup_failure(doing: &str, error: &OwnCgroupError) -> Failure {
    match error {
        OwnCgroupError::Kernel(_) => Failure::new(Exit::Missing, doing).because(error),
        OwnCgroupError::Occupied { .. } => Failure::new(Exit::Failed, doing).because(error).fix(
            "end those processes; if they are a daemon of the same instance name, give this one \
             another daemon.instance",
        ),
    }
}

pub(super) fn proxy_cgroup(own: &OwnCgroup) -> Result<ProxyCgroup, Failure> {
    let id = own
        .id()
        .map_err(|error| Failure::new(Exit::Failed, "own cgroup").because(&error))?;
    Ok(ProxyCgroup {
        path: own.path().to_path_buf(),
        id,
    })
}

/// To the hard limit: each connection takes two or more descriptors.
pub(super) fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "raising the limit of open files");
    }
}
