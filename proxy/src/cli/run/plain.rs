//! A daemon that intercepts nothing: no privilege, no cgroup, nothing in the kernel.

use std::time::Duration;

use super::{FLUSH, Signals, control, lock, raise_file_limit, runtime, until_asked_to_end};
use crate::{
    app::{Daemon, Plain, PlainStartError},
    cli::{Exit, Failure},
    config::Config,
    kernel::rules::Scope,
    policy::Policy,
    record::RecordSink,
    telemetry,
};

pub(super) fn run(config: Config) -> Result<Exit, Failure> {
    let policy = Policy::build(config, Scope::Selections, 1, None)
        .map_err(|error| Failure::new(Exit::Config, "the configuration's files").because(&error))?;
    let config = policy.config.clone();
    telemetry::start(&config.log)
        .map_err(|error| Failure::new(Exit::Config, "log").because(&error))?;
    raise_file_limit();
    let runtime = runtime(config.daemon.workers.map(|workers| workers.get() as usize))?;
    let signals = Signals::install(&runtime)?;
    let _lock = lock(&config)?;
    let sink = RecordSink::from_config(&config.log)
        .map_err(|error| Failure::new(Exit::Config, "log.access_file").because(&error))?;
    let exit = runtime.block_on(serve(&config, policy, sink.clone(), signals));
    // Tasks that the deadline cut off end here, so that their records are in the queue.
    runtime.shutdown_timeout(Duration::from_secs(1));
    sink.flush(FLUSH);
    exit
}

async fn serve(
    config: &Config,
    policy: Policy,
    sink: RecordSink,
    mut signals: Signals,
) -> Result<Exit, Failure> {
    let control = control(config)?;
    let plain = Plain::start(policy, sink).await.map_err(start_failure)?;
    let daemon = Daemon::Plain(plain);
    if signals.end_asked() {
        daemon.drain(Duration::ZERO).await;
        return Ok(Exit::Done);
    }
    let ended =
        until_asked_to_end(config, &daemon, control, &mut signals, "ready: listening").await;
    tracing::info!(drained = ended.drained, "stopped");
    Ok(ended.exit())
}

fn start_failure(error: PlainStartError) -> Failure {
    Failure::new(Exit::Failed, "starting to listen").because(&error)
}
