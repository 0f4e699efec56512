use std::future::poll_fn;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{
        loopback::{fill, pair, soon},
        pipe,
    },
    *,
};

/// One direction between two connections, moved only when the test says so.
struct Direction {
    pump: Pump,
    from: TcpStream,
    to: TcpStream,
    moved: u64,
}

impl Direction {
    /// Moves what can be moved now.
    async fn turn(&mut self) -> Waits {
        let Self {
            pump,
            from,
            to,
            moved,
        } = self;
        poll_fn(|cx| Poll::Ready(pump.poll(from, to, cx, moved)))
            .await
            .unwrap()
    }

    /// Moves until `io`, the near or the far end, has done what it does.
    async fn during<T>(&mut self, io: impl Future<Output = T>) -> T {
        let Self {
            pump,
            from,
            to,
            moved,
        } = self;
        let moving = poll_fn(|cx| {
            pump.poll(from, to, cx, moved).unwrap();
            Poll::<()>::Pending
        });
        tokio::select! {
            done = soon(io) => done,
            () = moving => unreachable!("it never ends"),
        }
    }

    fn has_pipe(&self) -> bool {
        self.pump.splice.has_pipe()
    }
}

#[tokio::test]
async fn bulk_has_a_pipe_and_what_is_idle_or_small_has_none() {
    let _alone = pipe::ALONE.lock().await;
    let (mut near, from) = pair().await;
    let (to, mut far) = pair().await;
    let mut direction = Direction {
        pump: Pump::default(),
        from,
        to,
        moved: 0,
    };
    let mut got = vec![0; 1 << 20];

    direction.during(near.write_all(b"small")).await.unwrap();
    let _ = direction.during(far.read(&mut got)).await.unwrap();
    assert!(!direction.pump.splice.is_on());

    let taken = direction.during(fill(&mut near)).await;
    assert!(direction.has_pipe(), "bulk that waits for its reader");
    let mut left = taken;
    while left > 0 {
        left -= direction.during(far.read(&mut got)).await.unwrap();
    }
    assert_eq!(direction.turn().await, Waits::Reading);
    assert!(!direction.has_pipe(), "nothing is under way");
    assert_eq!(direction.moved, taken as u64 + 5);

    for _ in 0..8 {
        direction.during(near.write_all(b"small")).await.unwrap();
        direction
            .during(far.read_exact(&mut got[..5]))
            .await
            .unwrap();
    }
    assert!(!direction.pump.splice.is_on(), "it is copied again");
}
