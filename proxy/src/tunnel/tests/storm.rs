//! The tunnel under everything that applications do, at once: many leases at a time over the
//! pools of several identities, TLS over real TCP, every byte known by its lease and its place.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    identity::Expected,
    relay::loopback::{Dice, Identity, Pairs, load, reset, write_in_pieces},
};

mod part;

use part::{Got, Part, Pattern};

const LANES: u64 = 96;
const IDENTITIES: usize = 5;
/// Repeats the choices of a run that failed, if not what the scheduler made of them.
const SEED: &str = "SIDETRACK_SEED";

/// What a server hands to the application of a lease.
struct Dialled {
    app: TcpStream,
    ended: oneshot::Receiver<Ended>,
}

struct Told(oneshot::Sender<Ended>);

impl LeaseGuard for Told {
    fn ended(self, moved: Moved, end: Result<(), Refusal>) {
        let _ = self.0.send((moved, end));
    }
}

/// One identity's server, and the pool of its clients.
struct Peer {
    index: usize,
    tls: Identity,
    pool: Pool<Io>,
    /// Applications that wait for their leases.
    waiting: Mutex<HashMap<ConnectionId, oneshot::Sender<Dialled>>>,
    taken: Mutex<HashSet<ConnectionId>>,
    dice: Mutex<Dice>,
    pairs: Arc<Pairs>,
}

#[derive(Clone)]
struct Dialler(Arc<Peer>);

impl LeaseHandler for Dialler {
    type App = TcpStream;
    type Guard = Told;

    async fn open(&self, open: Open) -> Result<Admitted<TcpStream, Told>, Refusal> {
        let peer = &self.0;
        let (delay, refuse) = {
            let mut dice = peer.dice.lock();
            (dice.roll(20) == 0, dice.roll(80) == 0)
        };
        if delay {
            // The client's first bytes, and its end, come during the dial.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if refuse {
            return Err(Refusal::new(Reason::NotAllowed, "chance"));
        }
        let (app, far) = peer.pairs.pair().await;
        let (told, ended) = oneshot::channel();
        let waiting = peer.waiting.lock().remove(&open.id);
        assert!(
            peer.taken.lock().insert(open.id),
            "a lease was run twice: {open:?}"
        );
        // Nobody waits for one that its client gave up, and for none of another identity.
        match waiting.map(|waiting| waiting.send(Dialled { app: far, ended })) {
            Some(Ok(())) => Ok(Admitted {
                app,
                guard: Told(told),
            }),
            _ => Err(Refusal::new(Reason::NotAllowed, "its client is gone")),
        }
    }
}

#[derive(Default)]
struct Tally {
    tunnels: AtomicU64,
    replayed: AtomicU64,
    clean: AtomicU64,
    cut: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

impl Peer {
    fn key(&self) -> PoolKey {
        PoolKey {
            netns: 1,
            bind: None,
            device: None,
            mark: 0,
            tos: 0,
            peer: SocketAddr::from(([127, 0, 7, 1], 1)),
            own: format!("identity {}", self.index).into(),
            expect: [Expected::Any].into(),
            generation: 1,
        }
    }

    /// A new tunnel, whose server gives it up after a short while without a lease.
    async fn connect(self: &Arc<Self>, tally: &Tally) -> Tunnel<Io> {
        Tally::add(&tally.tunnels, 1);
        let (near, far) = self.pairs.pair().await;
        let (near, far) = self.tls.tls(near, far).await;
        let handler = Dialler(Arc::clone(self));
        let options = Options {
            idle: Duration::from_millis(10 + self.dice.lock().roll(500) as u64),
            lease_idle: None,
        };
        let far: Io = Box::new(far);
        tokio::spawn(async move { serve(far, &handler, options, std::future::pending()).await });
        Tunnel::new(Box::new(near))
    }

    /// Carries one connection, by as many tunnels as it takes.
    async fn carry(
        self: Arc<Self>,
        open: Open,
        app: TcpStream,
        tally: Arc<Tally>,
    ) -> (Moved, Outcome<TcpStream>) {
        let (mut app, mut first) = (app, Opening::default());
        let mut moved = Moved::default();
        loop {
            let tunnel = match self.pool.take(&self.key()) {
                Some(tunnel) => tunnel,
                None => self.connect(&tally).await,
            };
            let end = tunnel.lease(&open, app, first, PATIENT, &mut moved).await;
            if let Some(tunnel) = end.tunnel {
                self.pool.put(self.key(), tunnel);
            }
            match end.outcome {
                Outcome::NotAccepted { app: back, replay } => {
                    Tally::add(&tally.replayed, 1);
                    (app, first) = (back, replay);
                }
                outcome => return (moved, outcome),
            }
        }
    }

    /// One lease with an application at each end, and all that must be true of it.
    async fn lease(self: &Arc<Self>, number: u64, dice: &mut Dice, tally: &Arc<Tally>) {
        let (of_client, of_server) = Part::both(dice);
        let patterns = [true, false].map(|client| Pattern::new(number, client));
        let open = open(number);
        let (tell, dialled) = oneshot::channel();
        self.waiting.lock().insert(open.id, tell);
        let (app, near) = self.pairs.pair().await;
        let client = tokio::spawn(of_client.play(app, patterns[0]));
        let server = tokio::spawn(async move {
            let Dialled { app, ended } = dialled.await.ok()?;
            Some((of_server.play(app, patterns[1]).await, ended.await.unwrap()))
        });
        let carried = Arc::clone(self).carry(open, near, Arc::clone(tally));
        let (moved, outcome) = within(number, "the lease", carried).await;
        self.waiting.lock().remove(&open.id);
        let client: Got = within(number, "the client", client).await.unwrap();
        let server = within(number, "the server", server).await.unwrap();
        let what = || format!("lease {number}, {of_client:?}, {of_server:?}: {outcome:?}");
        let right = |side: &str, got: &[u8], due: Pattern| {
            let wrong = due.first_wrong(got);
            assert_eq!(wrong, None, "a foreign byte at the {side} of {}", what());
        };
        right("client", &client.bytes, patterns[1]);
        let Some((server, (there, end))) = server else {
            assert!(client.bytes.is_empty() && !client.clean, "{}", what());
            // By chance, or because its client had gone: not lost on the way.
            let Outcome::Refused(refusal) = &outcome else {
                panic!("{}", what());
            };
            let refused = refusal.reason == Reason::PeerRefused;
            assert!(refused || of_client.resets(), "{}", what());
            return Tally::add(&tally.refused, 1);
        };
        right("server", &server.bytes, patterns[0]);
        Tally::add(
            &tally.bytes,
            (client.bytes.len() + server.bytes.len()) as u64,
        );
        if of_client.resets() || of_server.resets() {
            // Who resets has not half-closed before: an end in order would hide what was cut off.
            assert!(!client.clean && !server.clean, "{}", what());
            assert!(!matches!(outcome, Outcome::Clean), "{}", what());
            assert!(end.is_err(), "{}", what());
            return Tally::add(&tally.cut, 1);
        }
        assert!(client.clean && server.clean, "{}", what());
        assert!(matches!(outcome, Outcome::Clean), "{}", what());
        assert!(end.is_ok(), "{end:?} of {}", what());
        let sent = (of_client.sends(), of_server.sends());
        assert_eq!((server.bytes.len(), client.bytes.len()), sent, "{}", what());
        let counted = Moved {
            up: sent.0 as u64,
            down: sent.1 as u64,
        };
        assert_eq!((moved, there), (counted, counted), "{}", what());
        Tally::add(&tally.clean, 1);
    }
}

async fn within<F: Future>(number: u64, what: &str, future: F) -> F::Output {
    let patience = Duration::from_secs(60);
    let outcome = tokio::time::timeout(patience, future).await;
    outcome.unwrap_or_else(|_| panic!("{what} of lease {number} hangs"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_at_once_with_resets_and_stalls_mix_and_lose_no_byte() {
    storm(load(3_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by cargo xtask test"]
async fn a_hundred_thousand_leases_at_once_with_resets_and_stalls_mix_and_lose_no_byte() {
    storm(load(100_000)).await;
}

async fn storm(leases: u64) {
    let most = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let seed = std::env::var(SEED).map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(),
        |seed| seed.parse().unwrap(),
    );
    println!("{SEED}={seed}");
    let pairs = Arc::new(Pairs::new().await);
    let peers: Vec<_> = (0..IDENTITIES)
        .map(|index| {
            Arc::new(Peer {
                index,
                tls: Identity::new(),
                pool: Pool::new(Limits {
                    per_key: 16,
                    total: 16,
                    idle: Duration::from_secs(60),
                }),
                waiting: Mutex::default(),
                taken: Mutex::default(),
                dice: Mutex::new(Dice(seed << 8 | index as u64 | 1 << 60)),
                pairs: Arc::clone(&pairs),
            })
        })
        .collect();
    let (next, tally) = (Arc::new(AtomicU64::new(0)), Arc::new(Tally::default()));
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let (peers, next, tally) = (peers.clone(), Arc::clone(&next), Arc::clone(&tally));
            tokio::spawn(async move {
                let mut dice = Dice(seed << 8 | lane | 1 << 61);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= leases {
                        return;
                    }
                    let peer = &peers[dice.roll(IDENTITIES)];
                    peer.lease(number, &mut dice, &tally).await;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let [tunnels, replayed, clean, cut, refused, bytes] = [
        &tally.tunnels,
        &tally.replayed,
        &tally.clean,
        &tally.cut,
        &tally.refused,
        &tally.bytes,
    ]
    .map(Tally::get);
    println!(
        "{leases} leases on {tunnels} tunnels: {clean} clean, {cut} cut, {refused} refused, {replayed} replayed, {bytes} bytes"
    );
    assert_eq!(clean + cut + refused, leases);
    if leases < 20 * LANES {
        // Too few to say what chance made of them.
        return;
    }
    assert!(
        clean > leases / 2 && cut > leases / 20 && refused > 0,
        "no storm"
    );
    assert!(
        tunnels < leases / 4,
        "leases are to follow one another on a tunnel"
    );
}
