//! The end of what is alive, when no more is taken.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::data::DataPath;

/// How long a drain waits for peers to read the CLOSE of their tunnels, and for strangers to say
/// who they are: as long as a tunnel waits for its peer after CLOSE.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// How long records of what a drain ended may take to be written.
pub(super) const LAST_RECORDS: Duration = Duration::from_secs(2);

/// Waits for live connections until `within` has passed since `begun`, then resets what is left.
/// Whether none had to be reset.
pub(super) async fn live(data: &DataPath, begun: Instant, within: Duration) -> bool {
    // Those that are leased now are closed as they come back.
    data.pool.retain_generation(u64::MAX);
    let live = &data.live;
    live.begin_drain();
    // Apart from `within`, so that a stranger who stalls delays no stop and fails none.
    let soon = within.min(GOODBYE).saturating_sub(begun.elapsed());
    let known = timeout(soon, live.strangers_gone()).await.is_ok();
    let left = within.saturating_sub(begun.elapsed());
    let mut drained = timeout(left, live.connections_ended()).await.is_ok();
    // Nobody is left who would send a request.
    for upstream in data.policy.load().upstreams() {
        upstream.close_idle();
    }
    // Each sends CLOSE as soon as it has no lease, and waits for its peer to read it.
    let left = within.saturating_sub(begun.elapsed()).min(GOODBYE);
    let closed = timeout(left, live.tunnels_ended()).await.is_ok();
    if !drained {
        tracing::warn!(
            connections = live.count(),
            "the drain deadline passed; resetting what is left"
        );
    }
    if !(known && drained && closed) {
        // A stranger may have turned out to be a connection since.
        drained &= live.count() == 0;
        live.cut();
        // Each task ends at its next poll; their records are written as they do.
        let ended = async {
            live.strangers_gone().await;
            live.connections_ended().await;
        };
        let _ = timeout(LAST_RECORDS, ended).await;
    }
    drained
}
