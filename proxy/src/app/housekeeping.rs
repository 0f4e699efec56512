//! What is done from time to time, beside connections.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::watch,
    time::{Instant, MissedTickBehavior, sleep_until},
};

use super::App;
use crate::{
    kernel::{
        Redirector,
        cgroup::{
            watch::{Changed, Watch},
            whose::Finder,
        },
        changes::Changes,
        proxies::Look,
        rules::Scope,
        sys,
    },
    outbound,
};

mod pace;

use pace::Pace;

const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_OF_MISSING: Duration = Duration::from_millis(200);

/// Between two looks at all cgroups that connections ask for: where the kernel's table has no room
/// for a cgroup, each of its connections asks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Starts the watch over idle tunnels, cgroups, addresses and listening sockets, and the reader
/// of the kernel's refusals.
pub(super) fn spawn(
    app: &Arc<App>,
    cgroups: Option<AsyncFd<Arc<Watch>>>,
    stopped: watch::Receiver<bool>,
) {
    let mut tasks = app.tasks.lock();
    tasks.spawn(watch_proxies(Arc::downgrade(app), stopped.clone()));
    tasks.spawn(periodic(Arc::downgrade(app), stopped.clone()));
    if app.scope == Scope::Selections {
        tasks.spawn(follow_executables(Arc::downgrade(app), stopped.clone()));
        let finder = app.data.cgroups.clone();
        tasks.spawn(follow_cgroups(
            Arc::downgrade(app),
            finder,
            cgroups,
            stopped,
        ));
    }
    if let Some(events) = app.redirector.take_events() {
        let data = Arc::clone(&app.data);
        let mut detached = app.detached.subscribe();
        // Not one of the tasks that end when no more connections are taken: until the programs
        // are detached they refuse connects.
        tokio::spawn(async move {
            let read = events.run(|refused| outbound::told_by_kernel(&data, refused), async {
                let _ = detached.wait_for(|detached| *detached).await;
            });
            if let Err(error) = read.await {
                tracing::error!(%error, "reading the kernel's refusals; they are not recorded");
            }
        });
    }
}

/// Begins to watch for cgroups, before any is looked at. A command's own cgroup is governed as a
/// whole: nothing is to be told apart in it.
pub(super) fn watch_cgroups(scope: Scope, redirector: &Redirector) -> Option<AsyncFd<Arc<Watch>>> {
    if scope != Scope::Selections {
        return None;
    }
    let watch = redirector.watch_cgroups().and_then(sys::watch_cgroups);
    watch
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                "watching for new cgroups (compare fs.inotify.max_user_instances); they are \
                 looked for each second, and until then the proxy decides for them",
            );
        })
        .ok()
}

async fn periodic(app: Weak<App>, mut stopped: watch::Receiver<bool>) {
    let mut changes = Changes::watch();
    if let Err(error) = &changes {
        tracing::warn!(%error, "watching addresses and routes; they are looked at each second");
    }
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What changed between the look at the start and the watch is not known.
    let mut stale = true;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = tick.tick() => {}
        }
        let Some(app) = app.upgrade() else {
            return;
        };
        app.data.pool.sweep();
        stale |= changes.as_mut().map_or(true, Changes::any);
        // Netlink and cgroup look-ups block for as long as the kernel's lists are.
        match tokio::task::spawn_blocking(move || app.look_again(stale)).await {
            Ok(addresses_are_stale) => stale = addresses_are_stale,
            Err(error) => tracing::error!(%error, "looking at the host again"),
        }
    }
}

/// By itself, since a path may lead to where the kernel waits for another host.
async fn follow_executables(app: Weak<App>, mut stopped: watch::Receiver<bool>) {
    let mut pace = Pace::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pace.pause) => {}
        }
        let Some(app) = app.upgrade() else {
            return;
        };
        let followed = app.follow_executables().await;
        pace.looked(!matches!(followed, Ok(None)), Instant::now());
        match followed {
            Ok(None) => {}
            Ok(Some(generation)) => tracing::info!(
                generation,
                "a link that a selection's exe names leads elsewhere: the rules are for that now"
            ),
            Err(error) => tracing::warn!(
                %error,
                "a link that a selection's exe names leads elsewhere, and the rules are still for \
                 where it led"
            ),
        }
    }
}

/// A cgroup that appears has connections before the next second.
async fn follow_cgroups(
    app: Weak<App>,
    finder: Finder,
    watch: Option<AsyncFd<Arc<Watch>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut next = Instant::now();
    let asked = async |next| {
        sleep_until(next).await;
        finder.asked().await;
    };
    loop {
        let told = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            told = told(watch.as_ref()) => Some(told),
            () = asked(next) => {
                next = Instant::now() + BETWEEN_LOOKS;
                None
            }
        };
        let Some(app) = app.upgrade() else {
            return;
        };
        let look = move || {
            let changed = told.map_or(Changed::Anywhere, |watch| watch.changed());
            app.look_for_cgroups(&changed);
        };
        // Reading folders of cgroups blocks.
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::error!(%error, "looking for cgroups");
        }
    }
}

/// Resolves when cgroups have appeared or gone.
async fn told(watch: Option<&AsyncFd<Arc<Watch>>>) -> Arc<Watch> {
    let Some(watch) = watch else {
        return std::future::pending().await;
    };
    match watch.readable().await {
        Ok(mut ready) => {
            // Before it is read: what is told meanwhile makes it ready again.
            ready.clear_ready();
            Arc::clone(watch.get_ref())
        }
        // The runtime ends.
        Err(_) => std::future::pending().await,
    }
}

/// Looks whether the proxies of others are there; more often while one is not, since connects
/// fail until it is found.
async fn watch_proxies(app: Weak<App>, mut stopped: watch::Receiver<bool>) {
    let mut pause = PERIOD;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some(app) = app.upgrade() else {
            return;
        };
        let look = move || app.redirector.look_at_proxies();
        pause = match tokio::task::spawn_blocking(look).await {
            Ok(Ok(Look::Missing)) => PERIOD_OF_MISSING,
            Ok(Ok(Look::Complete)) => PERIOD,
            Ok(Err(error)) => {
                tracing::warn!(%error, "looking at the proxies again");
                PERIOD
            }
            Err(error) => {
                tracing::error!(%error, "looking at the proxies again");
                PERIOD
            }
        };
    }
}

impl App {
    fn look_for_cgroups(&self, changed: &Changed) {
        if let Err(error) = self.redirector.refresh_cgroups(changed) {
            tracing::warn!(%error, "looking for cgroups that have appeared or gone");
        }
    }

    /// Each look by itself: one that fails does not keep the others from being taken. Whether
    /// the addresses have to be looked at again.
    fn look_again(&self, mut addresses_are_stale: bool) -> bool {
        self.look_for_cgroups(&Changed::Anywhere);
        if addresses_are_stale {
            match self.refresh_addresses() {
                Ok(()) => addresses_are_stale = false,
                Err(error) => tracing::warn!(%error, "looking at addresses and routes again"),
            }
        }
        if !self.data.policy.load().config.inbound.is_empty()
            && let Err(error) = self.look_at_listeners()
        {
            tracing::warn!(%error, "looking at listening sockets again");
        }
        addresses_are_stale
    }
}
