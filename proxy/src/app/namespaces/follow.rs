//! When namespaces are looked for: at once when somebody connects in one, or a mount appears or
//! goes; and each second.

use std::{
    fs::File,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    time::{Instant, MissedTickBehavior, sleep_until},
};

use super::{Means, Namespaces};
use crate::{app::App, config::Config, kernel::sys, netns::asked::Asked};

const PERIOD: Duration = Duration::from_secs(1);

/// Between two looks at namespaces in which somebody connected: applications decide how often they
/// do.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What made it worth a look.
enum Why {
    Asked,
    Mounted,
    Due,
    Tick,
}

/// A look is over for this many times as long as it took, at least.
const REST: u32 = 9;

/// Whether any namespace but the daemon's own is to be served.
pub(in crate::app) fn wants_any(config: &Config) -> bool {
    !config.intercept.netns.is_empty()
}

/// Begins to look.
pub(in crate::app) fn spawn(app: &Arc<App>, stopped: watch::Receiver<bool>) {
    let asked = app.data.asked.clone();
    let follow = follow(Arc::downgrade(app), asked, stopped);
    app.tasks.lock().spawn(follow);
}

async fn follow(app: Weak<App>, asked: Asked, mut stopped: watch::Receiver<bool>) {
    let mounts = watch_mounts();
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Instant::now();
    let mut due = None;
    // Whoever connects or mounts decides how often that happens.
    let mounted = async |next| {
        sleep_until(next).await;
        changed(mounts.as_ref()).await;
    };
    let told = async |next| {
        sleep_until(next).await;
        asked.told().await;
    };
    loop {
        let why = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            () = told(next) => Why::Asked,
            () = mounted(next) => Why::Mounted,
            () = until(due) => Why::Due,
            _ = tick.tick() => Why::Tick,
        };
        let Some(app) = app.upgrade() else {
            return;
        };
        let begun = Instant::now();
        // Reading /proc and making sockets elsewhere blocks.
        match tokio::task::spawn_blocking(move || app.look_at_namespaces(&why)).await {
            Ok(next) => due = next,
            Err(error) => tracing::error!(%error, "looking at network namespaces"),
        }
        next = Instant::now() + BETWEEN_LOOKS.max(begun.elapsed() * REST);
    }
    let Some(app) = app.upgrade() else {
        return;
    };
    for mut loops in app.namespaces.stop(&app.heartbeat) {
        while loops.join_next().await.is_some() {}
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// The kernel marks the file as urgent when a mount appears or goes: so namespaces get and lose
/// their names.
fn watch_mounts() -> Option<AsyncFd<File>> {
    File::open("/proc/self/mountinfo")
        .and_then(sys::watch_mounts)
        .inspect_err(
            |error| tracing::debug!(%error, "watching mounts; they are looked at each second"),
        )
        .ok()
}

async fn changed(mounts: Option<&AsyncFd<File>>) {
    let Some(mounts) = mounts else {
        return std::future::pending().await;
    };
    match mounts.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        // The runtime ends.
        Err(_) => std::future::pending().await,
    }
}

impl App {
    /// When the next look is due, if it is before the next second.
    fn look_at_namespaces(&self, why: &Why) -> Option<std::time::Instant> {
        let means = self.means();
        match why {
            Why::Asked => {
                self.namespaces.look_at_asked(means, self.data.asked.take());
                self.namespaces.look_at_sources(means);
            }
            Why::Due => {}
            Why::Mounted | Why::Tick => {
                self.namespaces.look_at_names(means);
                self.namespaces.look_at_sources(means);
                self.namespaces.look_at_users(means);
            }
        }
        self.namespaces.try_again(means)
    }

    pub(in crate::app) fn means(&self) -> Means<'_> {
        Means {
            data: &self.data,
            redirector: &self.redirector,
            heartbeat: &self.heartbeat,
            hop: self.hop.as_ref(),
            places: (&self.governed, &self.mount),
            receives: self.data.policy.load().config.receives_in_namespaces(),
        }
    }

    /// The namespaces beside the daemon's own.
    pub fn namespaces(&self) -> Vec<super::NamespaceReport> {
        Namespaces::report(&self.namespaces, &self.data)
    }
}
