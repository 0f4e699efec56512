//! SIGHUP: the whole configuration again, all or nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{block_in_place, spawn_blocking},
    time::timeout,
};

use super::{App, ReloadError, namespaces::Means};
use crate::{
    config::Config,
    policy::Policy,
    uncovered::{changed, close::Outcome},
};

/// How long a reload waits until what it refuses past the redirect is closed, before it says that it
/// is done. What is left is closed after.
const CLOSING: Duration = Duration::from_secs(5);

/// Numbers of the generations of policy. One is never given twice, also if the policy that had it
/// was taken back: connections that the kernel redirected by it may be accepted later, and must
/// not be judged by another policy of the same number.
pub(super) struct Generations(AtomicU32);

impl Generations {
    /// Those after `first`.
    pub(super) fn after(first: u32) -> Self {
        Self(AtomicU32::new(first))
    }

    /// The next one. Never 0, which is none.
    pub(super) fn next(&self) -> u32 {
        loop {
            let next = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if next != 0 {
                return next;
            }
        }
    }
}

impl App {
    /// Reads the configuration and everything that it names again, and switches to it. On any
    /// error everything stays as it is.
    ///
    /// Live connections are judged again, and those that the new policy refuses are closed, also where
    /// the rules of before had left them alone; tunnels of before, those that peers made too, take no
    /// further lease and are closed.
    ///
    /// It may be given up while it reads: nothing is changed then.
    ///
    /// # Errors
    /// [`ReloadError`]
    pub async fn reload(self: &Arc<Self>) -> Result<u32, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let before = self.data.policy.load_full();
        let config = read_again(&before).await?;
        self.switch(&before, config).await
    }

    /// Looks again where the links lead by which selections name executables, and switches to rules for
    /// that if one has changed; the configuration is otherwise the one that is in force.
    ///
    /// # Errors
    /// [`ReloadError`]
    pub(super) async fn follow_executables(self: &Arc<Self>) -> Result<Option<u32>, ReloadError> {
        let before = self.data.policy.load_full();
        if !before.tables.asks_for_executables() {
            return Ok(None);
        }
        let looking = Arc::clone(&before);
        let look = move || looking.config.with_executables_as_they_are();
        let Ok(Some(config)) = spawn_blocking(look).await else {
            return Ok(None);
        };
        let _one_at_a_time = self.reloading.lock().await;
        // Of a reload meanwhile it is not known, and looked at again soon.
        if self.data.policy.load().generation != before.generation {
            return Ok(None);
        }
        self.switch(&before, config).await.map(Some)
    }

    async fn switch(
        self: &Arc<Self>,
        before: &Arc<Policy>,
        config: Config,
    ) -> Result<u32, ReloadError> {
        let (scope, generation) = (self.scope, self.generations.next());
        let older = Arc::clone(before);
        let build = move || Ok(Policy::build(config, scope, generation, Some(&older))?);
        let policy = Arc::new(apart(build).await?);
        let prepared = self.serving.prepare(&policy.config)?;
        // All of /proc and each namespace are looked at: the loops of this thread go on in another.
        // Whoever gives up a reload waits for this, so that nothing is switched half-way.
        let now = block_in_place(|| self.put_in_force(before, policy))?;
        let serving = &self.serving;
        serving
            .begin(prepared, &now, &self.data, &self.heartbeat)
            .await;
        self.end_what_is_refused(before, now).await;
        Ok(generation)
    }

    fn put_in_force(
        &self,
        before: &Arc<Policy>,
        policy: Arc<Policy>,
    ) -> Result<Arc<Policy>, ReloadError> {
        let generation = policy.generation;
        // A port that becomes governed must not look closed until the next look.
        self.look_twice_at_listeners()?;
        self.ensure_hop(&policy.config)?;
        // Where a port becomes governed in other namespaces, it is steered there before.
        let means = self.means();
        self.namespaces.look_at_users(Means {
            receives: means.receives || policy.config.receives_in_namespaces(),
            ..means
        });
        let tables = Arc::clone(&policy.tables);
        self.namespaces.prepare(&self.data.namespace, &tables);
        // User space first: connections that the kernel redirects by the new rules must find
        // them here, and those of the old rules are still known to the new policy.
        self.data.policy.store(Arc::clone(&policy));
        if let Err(error) = self.redirector.activate(tables) {
            self.data.policy.store(Arc::clone(before));
            return Err(error.into());
        }
        // What has changed since it was prepared.
        self.namespaces.look_at_names(self.means());
        self.data.switched_to(generation);
        Ok(policy)
    }

    /// Connections that we carry judge themselves. What goes past the redirect by leave of the rules of
    /// before does not, and is looked for.
    async fn end_what_is_refused(self: &Arc<Self>, before: &Arc<Policy>, now: Arc<Policy>) {
        if !changed::can_refuse(before, &now) {
            return;
        }
        let (app, before) = (Arc::clone(self), Arc::clone(before));
        // Reads the kernel's lists of sockets, and where one is suspect all processes.
        let closing = spawn_blocking(move || match app.close_newly_refused(&before, &now) {
            Ok(outcome) => tell(&outcome),
            Err(error) => tracing::error!(
                %error,
                "looking for connections past the redirect that the new rules refuse; they go on, \
                 and `sidetrack close --uncovered` ends them"
            ),
        });
        match timeout(CLOSING, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "closing what the new rules refuse"),
            Err(_) => tracing::warn!(
                "what goes past the redirect and is refused by the new rules is still being closed"
            ),
        }
    }
}

fn tell(outcome: &Outcome) {
    let closed = outcome.closed.len();
    match &outcome.error {
        Some(error) => tracing::error!(
            closed, %error,
            "connections past the redirect are refused by the new rules, and cannot be closed"
        ),
        None if closed > 0 || outcome.left > 0 => tracing::info!(
            closed,
            left = outcome.left,
            "connections past the redirect were closed, which the new rules refuse"
        ),
        None => {}
    }
}

/// Reads files, which may be on a host that does not answer: neither signals nor connections wait.
pub(super) async fn apart<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReloadError> + Send + 'static,
) -> Result<T, ReloadError> {
    spawn_blocking(read).await?
}

/// Reads the configuration that `before` is of, which may not change what a daemon is built around.
pub(super) async fn read_again(before: &Policy) -> Result<Config, ReloadError> {
    let path = before.config.path.clone();
    let config = apart(move || Config::load(&path).map_err(ReloadError::Config)).await?;
    same(&before.config, &config)?;
    Ok(config)
}

/// What a running daemon is built around.
fn same(before: &Config, after: &Config) -> Result<(), ReloadError> {
    let fixed = [
        (
            "daemon.instance",
            before.daemon.instance == after.daemon.instance,
        ),
        (
            "daemon.runtime_dir",
            before.daemon.runtime_dir == after.daemon.runtime_dir,
        ),
        (
            "daemon.heartbeat",
            before.daemon.heartbeat == after.daemon.heartbeat,
        ),
        (
            "gateway.listen",
            before.gateway.as_ref().map(|gateway| gateway.listen)
                == after.gateway.as_ref().map(|gateway| gateway.listen),
        ),
        (
            "daemon.workers",
            before.daemon.workers == after.daemon.workers,
        ),
        (
            "intercept.cgroup",
            before.intercept.cgroup == after.intercept.cgroup,
        ),
        (
            "intercept.listeners",
            before.intercept.listeners == after.intercept.listeners,
        ),
        (
            "intercept.netns",
            before.intercept.netns == after.intercept.netns,
        ),
        (
            "whether anything is intercepted",
            before.intercepts == after.intercepts,
        ),
        ("[limits]", before.limits == after.limits),
        ("[log]", before.log == after.log),
    ];
    match fixed.into_iter().find(|(_, same)| !same) {
        Some((key, _)) => Err(ReloadError::NeedsRestart(key)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_never_given_twice_and_is_never_0() {
        let generations = Generations::after(1);
        assert_eq!([generations.next(), generations.next()], [2, 3]);
        let last = Generations::after(u32::MAX);
        assert_eq!(last.next(), 1);
    }
}
