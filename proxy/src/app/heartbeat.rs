//! The sign of life that the programs ask for before they redirect or steer anything.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::App;
use crate::socket::Turn;

/// Beats within the time that the programs wait for one: two of them may be late.
const BEATS: u32 = 6;

/// When each accept loop had its last turn. A loop that is stuck, a runtime that hangs and a
/// process that is stopped all show as a turn that gets old.
pub(super) struct Heartbeat {
    turns: Mutex<Vec<Turn>>,
    period: Duration,
}

impl Heartbeat {
    pub(super) fn new(alive_for: Duration) -> Self {
        Self {
            turns: Mutex::default(),
            period: alive_for / BEATS,
        }
    }

    /// For one more loop.
    pub(super) fn turn(&self) -> Turn {
        let turn = Turn::now(self.period);
        self.turns.lock().push(turn.clone());
        turn
    }

    /// A loop has been told to end.
    pub(super) fn forget(&self, turn: &Turn) {
        self.turns.lock().retain(|kept| !kept.is(turn));
    }

    /// The data path has moved as lately as the slowest of its loops.
    fn last(&self) -> u64 {
        let turns = self.turns.lock();
        turns.iter().map(Turn::last).min().unwrap_or_default()
    }
}

impl App {
    pub(super) fn beat(&self) {
        if let Err(error) = self.redirector.beat(self.heartbeat.last()) {
            tracing::error!(%error, "beating");
        }
    }
}

async fn run(app: Weak<App>, mut stopped: watch::Receiver<bool>) {
    let Some(period) = app.upgrade().map(|app| app.heartbeat.period) else {
        return;
    };
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = tick.tick() => {}
        }
        let Some(app) = app.upgrade() else {
            return;
        };
        app.beat();
    }
}

/// Begins to beat.
pub(super) fn spawn(app: &Arc<App>, stopped: watch::Receiver<bool>) {
    app.beat();
    app.tasks.lock().spawn(run(Arc::downgrade(app), stopped));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_loop_tells_how_alive_the_data_path_is() {
        let heartbeat = Heartbeat::new(Duration::from_secs(3));
        let (slow, fast) = (heartbeat.turn(), heartbeat.turn());
        let before = slow.last();
        fast.mark();
        assert_eq!(heartbeat.last(), before);
        slow.mark();
        assert!(heartbeat.last() >= fast.last());
        // A loop that has ended has no more turns.
        slow.mark();
        heartbeat.forget(&fast);
        assert_eq!(heartbeat.last(), slow.last());
    }
}
