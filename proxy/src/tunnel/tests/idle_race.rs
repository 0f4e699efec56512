//! A server that gives an idle tunnel up at the very moment at which its client leases it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::relay::loopback::{Dice, Pairs, drain, load};

const AT_ONCE: u64 = 48;

/// Answers each lease with what it asked, and counts how often it was run.
#[derive(Clone)]
struct Echo {
    pairs: Arc<Pairs>,
    runs: Arc<Mutex<HashMap<ConnectionId, u32>>>,
}

struct Nobody;

impl LeaseGuard for Nobody {
    fn ended(self, _: Moved, _: Result<(), Refusal>) {}
}

impl LeaseHandler for Echo {
    type App = TcpStream;
    type Guard = Nobody;

    async fn open(&self, open: Open) -> Result<Admitted<TcpStream, Nobody>, Refusal> {
        *self.runs.lock().entry(open.id).or_default() += 1;
        let (app, mut far) = self.pairs.pair().await;
        tokio::spawn(async move {
            let mut asked = Vec::new();
            far.read_to_end(&mut asked).await.unwrap();
            far.write_all(&asked).await.unwrap();
        });
        Ok(Admitted { app, guard: Nobody })
    }
}

impl Echo {
    async fn tunnel(&self, idle: Duration) -> Tunnel<Io> {
        let (near, far) = self.pairs.pair().await;
        let handler = self.clone();
        let options = Options {
            idle,
            lease_idle: None,
        };
        tokio::spawn(async move { serve(far, &handler, options, std::future::pending()).await });
        Tunnel::new(Box::new(near))
    }

    /// One lease. Answers whether it met the close.
    async fn race(&self, round: u64, dice: &mut Dice) -> bool {
        let length = 1 + dice.roll(3000);
        let message = dice.bytes(length);
        let (mut app, near) = self.pairs.pair().await;
        // Both ends wake at the same tick of the clock, or one before the other.
        let idle = Duration::from_millis(1 + dice.roll(3) as u64);
        let mut tunnel = self.tunnel(idle).await;
        tokio::time::sleep(idle).await;
        for _ in 0..dice.roll(4) {
            tokio::task::yield_now().await;
        }
        // Some applications have spoken before the lease, some speak during it.
        let early = dice.roll(2) == 0;
        if early {
            app.write_all(&message).await.unwrap();
            app.shutdown().await.unwrap();
        }
        if !tunnel.is_usable() {
            tunnel = self.tunnel(Duration::from_secs(60)).await;
        }
        let task = carry_from(tunnel, near, Opening::default(), round);
        if !early {
            app.write_all(&message).await.unwrap();
            app.shutdown().await.unwrap();
        }
        let end = end_of(task).await;
        let (outcome, met) = match end.outcome {
            Outcome::NotAccepted { app, replay } => {
                assert!(!self.runs.lock().contains_key(&open(round).id));
                let tunnel = self.tunnel(Duration::from_secs(60)).await;
                let again = carry_from(tunnel, app, replay, round);
                (end_of(again).await.outcome, true)
            }
            outcome => (outcome, false),
        };
        assert!(
            matches!(outcome, Outcome::Clean),
            "round {round}: {outcome:?}"
        );
        let (got, end) = drain(&mut app).await;
        end.unwrap();
        assert!(
            got == message,
            "round {round}: {} bytes came back",
            got.len()
        );
        met
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_leases_that_race_the_servers_idle_close_are_each_carried_once() {
    let rounds = load(10_000);
    let echo = Echo {
        pairs: Arc::new(Pairs::new().await),
        runs: Arc::default(),
    };
    let (next, met) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let lanes: Vec<_> = (0..AT_ONCE)
        .map(|lane| {
            let (echo, next, met) = (echo.clone(), Arc::clone(&next), Arc::clone(&met));
            tokio::spawn(async move {
                let mut dice = Dice(lane + 1);
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    if echo.race(round, &mut dice).await {
                        met.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let runs = echo.runs.lock();
    assert_eq!(runs.len() as u64, rounds, "none is lost");
    assert!(runs.values().all(|count| *count == 1), "none is run twice");
    let met = met.load(Ordering::Relaxed);
    println!("{met} of {rounds} leases met the close");
    assert!(
        rounds < 1000 || (met > rounds / 200 && met < rounds),
        "no race: {met} of {rounds}"
    );
}
