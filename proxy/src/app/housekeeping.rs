//! What is done from time to time, beside connections.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::watch, time::MissedTickBehavior};

use super::App;
use crate::{
    kernel::{changes::Changes, proxies::Look},
    outbound,
};

const PERIOD: Duration = Duration::from_secs(1);
const PERIOD_OF_MISSING: Duration = Duration::from_millis(200);

/// Starts the watch over idle tunnels, cgroups, addresses and listening sockets, and the reader
/// of the kernel's refusals.
pub(super) fn spawn(app: &Arc<App>, stopped: watch::Receiver<bool>) {
    let mut tasks = app.tasks.lock();
    tasks.spawn(watch_proxies(Arc::downgrade(app), stopped.clone()));
    tasks.spawn(periodic(Arc::downgrade(app), stopped));
    if let Some(events) = app.redirector.take_events() {
        let data = Arc::clone(&app.data);
        let mut detached = app.detached.subscribe();
        // Not one of the tasks that end when no more connections are taken: until the programs
        // are detached they refuse connects.
        tokio::spawn(async move {
            let read = events.run(
                |refused| outbound::refused_in_kernel(&data, refused),
                async {
                    let _ = detached.wait_for(|detached| *detached).await;
                },
            );
            if let Err(error) = read.await {
                tracing::error!(%error, "reading the kernel's refusals; they are not recorded");
            }
        });
    }
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
    /// Each look by itself: one that fails does not keep the others from being taken. Whether
    /// the addresses have to be looked at again.
    fn look_again(&self, mut addresses_are_stale: bool) -> bool {
        if let Err(error) = self.redirector.refresh_cgroups() {
            tracing::warn!(%error, "looking for new cgroups");
        }
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
