//! What is done from time to time, beside connections.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};

use super::{App, selected_paths};
use crate::outbound;

const PERIOD: Duration = Duration::from_secs(1);

/// Starts the watch over idle tunnels, cgroups, addresses and listening sockets, and the reader
/// of the kernel's refusals.
pub(super) fn spawn(app: &Arc<App>, stopped: watch::Receiver<bool>) {
    let mut tasks = app.tasks.lock();
    tasks.spawn(periodic(Arc::downgrade(app), stopped.clone()));
    if let Some(events) = app.redirector.take_events() {
        let data = Arc::clone(&app.data);
        let mut stopped = stopped;
        tasks.spawn(async move {
            let read = events.run(|refused| outbound::refused_in_kernel(&data, refused));
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => {}
                end = read => {
                    if let Err(error) = end {
                        tracing::error!(%error, "reading the kernel's refusals; they are not recorded");
                    }
                }
            }
        });
    }
}

async fn periodic(app: std::sync::Weak<App>, mut stopped: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = tick.tick() => {}
        }
        let Some(app) = app.upgrade() else {
            return;
        };
        app.data.pool.sweep();
        // Netlink and cgroup look-ups block for as long as the kernel's lists are.
        let done = tokio::task::spawn_blocking(move || {
            let policy = app.data.policy.load();
            let looked = app
                .redirector
                .refresh_cgroups()
                .and_then(|()| app.refresh_addresses())
                .and_then(|()| app.reconcile_listening());
            if let Err(error) = looked {
                tracing::warn!(%error, "looking at the host again");
            }
            if let Err(error) = app.data.owners.refresh(selected_paths(&policy.config)) {
                tracing::warn!(%error, "listing listening sockets");
            }
        });
        if done.await.is_err() {
            tracing::error!("looking at the host again panicked");
        }
    }
}
