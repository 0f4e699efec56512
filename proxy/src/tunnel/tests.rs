//! Both ends of a tunnel over loopback, between real sockets of two applications.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    addr::{ClientAddr, OriginalDst},
    record::ConnectionId,
    refusal::{Reason, Refusal},
    relay::{
        Moved,
        loopback::{Io, pair, soon, tls_pair},
    },
};

mod endings;
mod faults;
mod hostile;
mod idle_race;
mod leases;
mod opened;
mod storm;

/// Longer than any test.
const PATIENT: Patience = Patience {
    answer: Duration::from_secs(3600),
    idle: None,
};

/// How one lease ended at the server.
type Ended = (Moved, Result<(), Refusal>);

/// Connects each lease to an application of the test.
#[derive(Clone)]
struct Dialer {
    apps: mpsc::UnboundedSender<(ConnectionId, TcpStream)>,
    ended: mpsc::UnboundedSender<Ended>,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Answer {
    Dial,
    Refuse,
    Hang,
}

struct Guard(mpsc::UnboundedSender<Ended>);

impl LeaseGuard for Guard {
    fn ended(self, moved: Moved, end: Result<(), Refusal>) {
        let _ = self.0.send((moved, end));
    }
}

impl LeaseHandler for Dialer {
    type App = TcpStream;
    type Guard = Guard;

    async fn open(&self, open: Open) -> Result<Admitted<TcpStream, Guard>, Refusal> {
        match self.answer {
            Answer::Dial => {}
            Answer::Refuse => return Err(Refusal::new(Reason::NotAllowed, "test")),
            Answer::Hang => std::future::pending().await,
        }
        let (app, far) = pair().await;
        self.apps.send((open.id, far)).unwrap();
        Ok(Admitted {
            app,
            guard: Guard(self.ended.clone()),
        })
    }
}

/// The server's host: applications, and a daemon that serves tunnels to them.
struct Host {
    accepted: mpsc::UnboundedReceiver<(ConnectionId, TcpStream)>,
    apps: mpsc::UnboundedSender<(ConnectionId, TcpStream)>,
    ends: mpsc::UnboundedReceiver<Ended>,
    told: mpsc::UnboundedSender<Ended>,
    answer: Answer,
}

/// A tunnel's server at work.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Refusal>>,
}

impl Host {
    fn new(answer: Answer) -> Self {
        let (told, ends) = mpsc::unbounded_channel();
        let (apps, accepted) = mpsc::unbounded_channel();
        Self {
            accepted,
            apps,
            ends,
            told,
            answer,
        }
    }

    fn dialer(&self) -> Dialer {
        Dialer {
            apps: self.apps.clone(),
            ended: self.told.clone(),
            answer: self.answer,
        }
    }

    async fn connection(&self) -> (TcpStream, Serving) {
        serving(self.dialer()).await
    }

    async fn tunnel(&self) -> (Tunnel<Io>, Serving) {
        let (near, serving) = self.connection().await;
        (Tunnel::new(Box::new(near)), serving)
    }

    async fn tls_tunnel(&self) -> (Tunnel<Io>, Serving) {
        let (near, far) = tls_pair().await;
        let serving = serving_on(Box::new(far), self.dialer());
        (Tunnel::new(Box::new(near)), serving)
    }

    async fn accept(&mut self) -> TcpStream {
        soon(self.accepted.recv()).await.unwrap().1
    }

    async fn ended(&mut self) -> Ended {
        soon(self.ends.recv()).await.unwrap()
    }
}

/// A connection on which a server serves; its client's end is for the test to use.
async fn serving(dialer: Dialer) -> (TcpStream, Serving) {
    let (near, far) = pair().await;
    (near, serving_on(Box::new(far), dialer))
}

fn serving_on(far: Io, dialer: Dialer) -> Serving {
    let (stop, stopped) = oneshot::channel();
    let options = Options {
        idle: Duration::from_secs(60),
        lease_idle: None,
    };
    let task = tokio::spawn(async move {
        let stopped = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        serve(far, &dialer, options, stopped).await
    });
    let stop = Some(stop);
    Serving { stop, task }
}

/// A client's application and the lease that carries it.
struct Carried {
    app: TcpStream,
    task: JoinHandle<(LeaseEnd<Io, TcpStream>, Moved)>,
}

fn open(id: u64) -> Open {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    Open {
        id: ConnectionId(bytes),
        source: ClientAddr::new("10.0.0.1:40000".parse().unwrap()),
        destination: OriginalDst::new("10.0.0.2:80".parse().unwrap()),
    }
}

async fn carry(tunnel: Tunnel<Io>) -> Carried {
    let (app, near) = pair().await;
    let task = carry_from(tunnel, near, Opening::default(), 0);
    Carried { app, task }
}

fn carry_from(
    tunnel: Tunnel<Io>,
    near: TcpStream,
    first: Opening,
    id: u64,
) -> JoinHandle<(LeaseEnd<Io, TcpStream>, Moved)> {
    tokio::spawn(async move {
        let mut moved = Moved::default();
        let end = tunnel
            .lease(&open(id), near, first, PATIENT, &mut moved)
            .await;
        (end, moved)
    })
}

async fn end_of(task: JoinHandle<(LeaseEnd<Io, TcpStream>, Moved)>) -> LeaseEnd<Io, TcpStream> {
    soon(task).await.unwrap().0
}

fn reason<T: std::fmt::Debug>(outcome: Outcome<T>) -> Reason {
    match outcome {
        Outcome::Refused(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}
