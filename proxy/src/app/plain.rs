//! A daemon that intercepts nothing: it serves its listeners, and needs no privilege for that.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BindError, ReloadError, drain,
    heartbeat::Heartbeat,
    reload::{self, Generations},
    serving::{Serving, ServingReport},
};
use crate::{
    data::{DataPath, Parts},
    inbound::owners::Owners,
    kernel::{FlowTable, cgroup::whose::Finder, rules::Scope},
    netns::Namespace,
    policy::Policy,
    record::RecordSink,
};

/// A running daemon that intercepts nothing.
pub struct Plain {
    /// What connections use.
    pub data: Arc<DataPath>,
    /// Since when it runs.
    pub since: Instant,
    serving: Serving,
    /// Nobody asks for it: no program waits for a sign of life.
    heartbeat: Heartbeat,
    reloading: tokio::sync::Mutex<()>,
    generations: Generations,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum PlainStartError {
    /// A listener of the configuration cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The daemon's own namespace cannot be held.
    #[error("opening the daemon's own network namespace: {0}; is /proc mounted?")]
    Namespace(#[source] io::Error),
}

impl Plain {
    /// Starts it: when this returns, its listeners are served.
    ///
    /// # Errors
    /// [`PlainStartError`]; no listener stays bound.
    pub async fn start(policy: Policy, sink: RecordSink) -> Result<Arc<Self>, PlainStartError> {
        let policy = Arc::new(policy);
        let config = &policy.config;
        let namespace = Namespace::own(0).map_err(PlainStartError::Namespace)?;
        let data = Arc::new(DataPath::new(Parts {
            flows: FlowTable::of_nothing(),
            policy: Arc::clone(&policy),
            sink,
            owners: Owners::new(namespace.clone(), "".into()),
            cgroups: Finder::new("".into()),
            namespace,
            exempt_by_socket: false,
        }));
        let serving = Serving::default();
        let heartbeat = Heartbeat::new(config.daemon.heartbeat);
        let prepared = serving.prepare(config)?;
        serving.begin(prepared, &policy, &data, &heartbeat).await;
        Ok(Arc::new(Self {
            data,
            since: Instant::now(),
            serving,
            heartbeat,
            reloading: tokio::sync::Mutex::default(),
            generations: Generations::after(policy.generation),
        }))
    }

    /// Reads the configuration and everything that it names again, and switches to it. On any
    /// error everything stays as it is.
    ///
    /// Live connections are judged again, and those that the new policy refuses are closed.
    ///
    /// # Errors
    /// [`ReloadError`]
    pub async fn reload(&self) -> Result<u32, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.data.policy.load_full();
        let config = reload::read_again(&before).await?;
        let generation = self.generations.next();
        let older = Arc::clone(&before);
        let build = move || {
            let policy = Policy::build(config, Scope::Selections, generation, Some(&older))?;
            Ok(Arc::new(policy))
        };
        let policy = reload::apart(build).await?;
        let prepared = self.serving.prepare(&policy.config)?;
        self.data.policy.store(Arc::clone(&policy));
        self.data.switched_to(generation);
        let serving = &self.serving;
        serving
            .begin(prepared, &policy, &self.data, &self.heartbeat)
            .await;
        Ok(generation)
    }

    /// Takes no new connections, waits for the live ones up to `within`, then resets what is
    /// left. Whether none had to be reset.
    pub async fn drain(&self, within: Duration) -> bool {
        let begun = Instant::now();
        self.serving.end().await;
        drain::live(&self.data, begun, within).await
    }

    /// Its listeners, and what is behind them.
    pub fn serving(&self) -> ServingReport {
        self.serving.report(&self.data.policy.load())
    }
}
