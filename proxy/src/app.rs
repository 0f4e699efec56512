//! One daemon: how it starts, what it does beside connections, how it reloads and ends.
//!
//! The order protects: policy is whole, every listener is bound and registered and the rules are
//! in the kernel before anything is attached; on the way out listeners go before links, so that
//! connects are blocked and not let through while live connections end.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    canary::{Canaries, Sung},
    config::Config,
    data::{DataPath, Parts},
    gateway,
    inbound::{self, owners::Owners},
    kernel::{
        Facts, Family, KernelError, Left, Pins, Redirector,
        attach::Points,
        cgroup::{self, whose::Finder},
        effective::Proof,
        hop::HopRoutes,
        listening::Suspects,
        rules::Scope,
    },
    netns::Namespace,
    policy::Policy,
    record::RecordSink,
};

mod applications;
mod daemon;
mod drain;
mod errors;
pub mod explain;
mod heartbeat;
mod housekeeping;
mod listeners;
mod namespaces;
mod plain;
pub mod reload;
mod serving;
pub mod uncovered;

pub use daemon::Daemon;
use drain::{GOODBYE, LAST_RECORDS};
pub use errors::{BindError, ReloadError, StartError};
use heartbeat::Heartbeat;
use listeners::Listeners;
pub use namespaces::NamespaceReport;
use namespaces::Namespaces;
pub use plain::{Plain, PlainStartError};
use serving::Serving;
pub use serving::ServingReport;
use uncovered::Past;

/// How long connects that were redirected just before a drain may take to arrive.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// How long accept loops and the watches beside them may take to end once they are told to, if the
/// drain does not give them more: each has a bounded queue to take, or a look at the host to finish.
const LOOPS_END: Duration = Duration::from_secs(2);

/// What a daemon is started with.
pub struct Plan {
    /// Policy of generation 1, already built: a configuration that is wrong stops everything
    /// before anything has begun.
    pub policy: Policy,
    /// Whom the rules are for.
    pub scope: Scope,
    /// The cgroup at which programs are attached.
    pub governed: PathBuf,
    /// The proxy's own cgroup, which this process is in.
    pub proxy: ProxyCgroup,
    /// Where the cgroup2 hierarchy is mounted.
    pub mount: PathBuf,
    /// Where access records go.
    pub sink: RecordSink,
    /// Where programs, maps and links are pinned, if they are to outlive this process.
    pub pins: Option<Pins>,
    /// What is left in the kernel at the end.
    pub left: Left,
}

/// The cgroup of the proxy.
pub struct ProxyCgroup {
    /// Its folder.
    pub path: PathBuf,
    /// Its id; 0 if others are in it too, so that it tells nothing.
    pub id: u64,
}

/// A running daemon.
pub struct App {
    /// What connections use.
    pub data: Arc<DataPath>,
    /// The kernel side.
    pub redirector: Arc<Redirector>,
    /// Since when it runs.
    pub since: Instant,
    scope: Scope,
    governed: PathBuf,
    mount: PathBuf,
    stop: watch::Sender<bool>,
    detached: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    reloading: tokio::sync::Mutex<()>,
    generations: reload::Generations,
    suspects: Mutex<Suspects>,
    heartbeat: Heartbeat,
    hop: Option<HopRoutes>,
    namespaces: Namespaces,
    past: Past,
    canaries: Canaries,
    serving: Serving,
}

impl App {
    /// Starts it: when this returns, connections are redirected.
    ///
    /// # Errors
    /// [`StartError`]; nothing stays attached.
    pub async fn start(plan: Plan) -> Result<Arc<Self>, StartError> {
        let config = plan.policy.config.clone();
        // Without pins nobody has said a rule, so that there is no hop.
        let hop = plan.pins.as_ref().map(|pins| HopRoutes::of(&pins.name()));
        let redirector = Arc::new(Redirector::load(Facts {
            own_cgroup: plan.proxy.id,
            slots: config.intercept.listeners,
            tell_namespaces: namespaces::wants_any(&config),
            alive_for: config.daemon.heartbeat,
            pins: plan.pins,
        })?);
        let policy = Arc::new(plan.policy);
        let namespace = Namespace::own(redirector.netns()).map_err(StartError::Namespace)?;
        let data = Arc::new(DataPath::new(Parts {
            flows: redirector.flows(),
            policy: Arc::clone(&policy),
            sink: plan.sink,
            owners: Owners::new(namespace.clone(), plan.mount.clone()),
            cgroups: Finder::new(plan.mount.clone()),
            namespace,
            exempt_by_socket: plan.proxy.id == 0,
        }));
        let listeners = Listeners::bind(config.intercept.listeners, &config.limits)?;
        let past = Past::of(listeners.addresses().map_err(StartError::Listen)?);
        let gateway = match &config.gateway {
            Some(gateway) => Some(listeners::at(gateway.listen, &config.limits)?),
            None => None,
        };
        let serving = Serving::default();
        let prepared = serving.prepare(&config)?;
        // Rules before listeners: where programs are attached already, the first connection that
        // finds a listener must be redirected by rules that are known here.
        let cgroups = housekeeping::watch_cgroups(plan.scope, &redirector);
        let namespaces = Namespaces::new(&config.intercept.netns, plan.mount.clone());
        namespaces.prepare(&data.namespace, &policy.tables);
        redirector.activate(Arc::clone(&policy.tables))?;
        listeners.register(&redirector)?;
        let (stop, stopped) = watch::channel(false);
        let heartbeat = Heartbeat::new(config.daemon.heartbeat);
        let mut tasks = listeners.accept(&data, &heartbeat, &stopped);
        if let Some(listener) = gateway {
            let turn = heartbeat.turn();
            tasks.spawn(gateway::accept(
                Arc::clone(&data),
                listener,
                stopped.clone(),
                turn,
            ));
        }
        serving.begin(prepared, &policy, &data, &heartbeat).await;
        let canaries = Canaries::new(
            plan.governed.clone(),
            cgroup::canary_name(&config.daemon.instance),
        );
        let app = Arc::new(Self {
            namespaces,
            hop,
            canaries,
            serving,
            data,
            redirector,
            since: Instant::now(),
            scope: plan.scope,
            governed: plan.governed,
            mount: plan.mount,
            stop,
            detached: watch::channel(false).0,
            tasks: Mutex::new(tasks),
            reloading: tokio::sync::Mutex::new(()),
            generations: reload::Generations::after(policy.generation),
            suspects: Mutex::default(),
            heartbeat,
            past,
        });
        // First, so that what they had does not stand in the way of this host's own.
        let before = app.redirector.namespaces_of_before()?;
        app.refresh_addresses()?;
        app.namespaces.begin(app.means(), &before);
        // Before and after: sk_lookup must not find an application that listens already missing,
        // and one that begins to listen in between must not be missed.
        app.count_listeners()?;
        heartbeat::spawn(&app, stopped.clone());
        app.redirector.attach(&Points {
            governed: app.governed.clone(),
            proxy: Some(plan.proxy.path),
            // A network namespace takes 64 such programs. A daemon's reload may add rules.
            inbound: app.scope == Scope::Selections || !config.inbound.is_empty(),
            elsewhere: config.receives_in_namespaces(),
        })?;
        app.look_twice_at_listeners()?;
        if app.scope == Scope::Selections || namespaces::wants_any(&config) {
            // A reload may add selections that ask for namespaces.
            namespaces::spawn(&app, stopped.clone());
        }
        housekeeping::spawn(&app, cgroups, stopped);
        app.redirector.will_leave(plan.left);
        if let Some(hop) = &app.hop {
            hop.stay();
        }
        if app.scope == Scope::Selections
            && let Err(error) = app.meet_existing()
        {
            tracing::warn!(%error, "looking for connections that were there before");
        }
        Ok(app)
    }

    /// Takes no new connections, waits for the live ones up to `within`, then resets what is
    /// left. Whether none had to be reset.
    pub async fn drain(&self, within: Duration) -> bool {
        self.redirector.unregister();
        // A connect whose hook ran before that is still on its way to a listener. On the loopback
        // address it arrives at once; from outside, the last packet of its handshake takes a
        // round trip. Nothing tells when the last of them is here.
        sleep(UNDER_WAY).await;
        self.stop.send_replace(true);
        let begun = Instant::now();
        let mut accepting = std::mem::take(&mut *self.tasks.lock());
        let ended = async { while accepting.join_next().await.is_some() {} };
        let patience = within.clamp(LOOPS_END, GOODBYE);
        if timeout(patience, ended).await.is_err() {
            tracing::warn!(
                left = accepting.len(),
                "loops that accept or watch did not end within {patience:?}; they are dropped, and \
                 what waited in their listeners' queues is reset"
            );
            accepting.abort_all();
        }
        self.serving.end().await;
        let drained = drain::live(&self.data, begun, within).await;
        self.redirector.end();
        self.detached.send_replace(true);
        // Closed when the reader of the kernel's refusals has ended: it holds the receiver.
        let _ = timeout(LAST_RECORDS, self.detached.closed()).await;
        drained
    }

    /// The cgroup at which programs are attached.
    pub fn governed(&self) -> &Path {
        &self.governed
    }

    /// Its listeners, and what is behind them.
    pub fn serving(&self) -> ServingReport {
        self.serving.report(&self.data.policy.load())
    }

    fn refresh_addresses(&self) -> Result<(), KernelError> {
        self.ensure_hop(&self.data.policy.load().config)?;
        let own = self.redirector.refresh_addresses()?;
        self.data.inward.own_addresses.store(Arc::new(own));
        Ok(())
    }

    fn ensure_hop(&self, config: &Config) -> Result<(), KernelError> {
        match &self.hop {
            Some(hop) if !config.inbound.is_empty() => hop.ensure(),
            _ => Ok(()),
        }
    }

    /// Sends a canary through the redirect, in the namespaces that are served too, and waits for
    /// it.
    pub fn send_canary(&self) -> Sung {
        let with_ipv6 = self.redirector.is_listening(Family::V6);
        let others = self.namespaces.serving();
        let others = others.iter().map(namespaces::Served::elsewhere).collect();
        let mut sung = self.canaries.send(&self.data.canary, with_ipv6, others);
        // One that has ended meanwhile has no listeners any more, and needs none.
        let served = self.namespaces.serving();
        let is_served = |netns| served.iter().any(|one| one.is(netns));
        sung.namespaces.retain(|there| is_served(there.netns));
        sung
    }

    /// What the kernel says, also at the cgroups that rules name.
    pub fn proof(&self) -> Proof {
        // The look before may be a second old, and what ended since is no fault.
        self.namespaces.look_at_users(self.means());
        let mut below = self.redirector.tables().named_cgroups(&self.mount);
        below.retain(|folder| *folder != self.governed && folder.starts_with(&self.governed));
        let mut proof = self.redirector.proof(&below);
        self.namespaces.prove(self.means(), &mut proof);
        proof
    }

    /// The cgroups below the attach point; `None` where that is the root, so that it is all.
    fn governed_ids(&self) -> Option<HashSet<u64>> {
        let everything = self.governed == self.mount;
        (!everything).then(|| inbound::owners::ids_below(&self.governed))
    }
}

/// The folder of `intercept.cgroup`.
pub fn governed(config: &Config, mount: &Path) -> PathBuf {
    let below = config.intercept.cgroup.trim_matches('/');
    if below.is_empty() {
        mount.to_path_buf()
    } else {
        mount.join(below)
    }
}
