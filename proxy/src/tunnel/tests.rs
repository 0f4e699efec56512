//! Both ends of a tunnel over loopback, between real sockets of two applications.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
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
        loopback::{pair, soon},
    },
};

mod endings;
mod hostile;
mod leases;

/// How one lease ended at the server.
type Ended = (Moved, Result<(), Refusal>);

/// Connects each lease to the application that listens at `app`.
struct Dialer {
    app: SocketAddr,
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

    async fn open(&self, _open: Open) -> Result<Admitted<TcpStream, Guard>, Refusal> {
        match self.answer {
            Answer::Dial => {}
            Answer::Refuse => return Err(Refusal::new(Reason::NotAllowed, "test")),
            Answer::Hang => std::future::pending().await,
        }
        let app = TcpStream::connect(self.app).await.unwrap();
        app.set_nodelay(true).unwrap();
        Ok(Admitted {
            app,
            guard: Guard(self.ended.clone()),
        })
    }
}

/// The server's host: an application that listens, and a daemon that serves tunnels to it.
struct Host {
    listener: TcpListener,
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
    async fn new(answer: Answer) -> Self {
        let (told, ends) = mpsc::unbounded_channel();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            ends,
            told,
            answer,
        }
    }

    fn dialer(&self) -> Dialer {
        Dialer {
            app: self.listener.local_addr().unwrap(),
            ended: self.told.clone(),
            answer: self.answer,
        }
    }

    /// A connection on which the server serves; its client's end is for the test to use.
    async fn connection(&self) -> (TcpStream, Serving) {
        let (near, far) = pair().await;
        let dialer = self.dialer();
        let (stop, stopped) = oneshot::channel();
        let options = Options {
            idle: Duration::from_secs(60),
            lease_idle: None,
        };
        let task = tokio::spawn(async move {
            let stopped = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            serve(far, &dialer, options, stopped).await
        });
        let stop = Some(stop);
        (near, Serving { stop, task })
    }

    async fn tunnel(&self) -> (Tunnel<TcpStream>, Serving) {
        let (near, serving) = self.connection().await;
        (Tunnel::new(near), serving)
    }

    async fn accept(&self) -> TcpStream {
        soon(self.listener.accept()).await.unwrap().0
    }

    async fn ended(&mut self) -> Ended {
        soon(self.ends.recv()).await.unwrap()
    }
}

/// A client's application and the lease that carries it.
struct Carried {
    app: TcpStream,
    task: JoinHandle<(LeaseEnd<TcpStream, TcpStream>, Moved)>,
}

fn open() -> Open {
    Open {
        id: ConnectionId([1; 16]),
        source: ClientAddr::new("10.0.0.1:40000".parse().unwrap()),
        destination: OriginalDst::new("10.0.0.2:80".parse().unwrap()),
    }
}

async fn carry(tunnel: Tunnel<TcpStream>) -> Carried {
    let (app, near) = pair().await;
    let task = carry_from(tunnel, near, Opening::default());
    Carried { app, task }
}

fn carry_from(
    tunnel: Tunnel<TcpStream>,
    near: TcpStream,
    first: Opening,
) -> JoinHandle<(LeaseEnd<TcpStream, TcpStream>, Moved)> {
    tokio::spawn(async move {
        let mut moved = Moved::default();
        let end = tunnel.lease(&open(), near, first, None, &mut moved).await;
        (end, moved)
    })
}

async fn end_of(
    task: JoinHandle<(LeaseEnd<TcpStream, TcpStream>, Moved)>,
) -> LeaseEnd<TcpStream, TcpStream> {
    soon(task).await.unwrap().0
}

fn reason<T: std::fmt::Debug>(outcome: Outcome<T>) -> Reason {
    match outcome {
        Outcome::Refused(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}
