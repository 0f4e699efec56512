//! Many leases, with everything that applications do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::relay::loopback::{Dice, drain, reset, write_in_pieces};

/// What one application of a lease does.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Bytes that it means to send.
    sends: usize,
    /// Seed of those bytes: no two parts share it.
    seed: u64,
    /// Resets after so many bytes were sent, without reading.
    resets_after: Option<usize>,
    /// Reads nothing before all is sent.
    reads_late: bool,
}

impl Part {
    fn new(seed: u64, dice: &mut Dice) -> Self {
        let sends = match dice.roll(4) {
            0 => 0,
            1 => dice.roll(300),
            2 => dice.roll(20_000),
            _ => dice.roll(400_000),
        };
        Self {
            sends,
            seed,
            resets_after: (dice.roll(6) == 0).then(|| dice.roll(sends + 1)),
            // Only one that can send all without being read: else two of them wait for ever.
            reads_late: sends < 20_000 && dice.roll(4) == 0,
        }
    }

    fn bytes(self) -> Vec<u8> {
        Dice(self.seed).bytes(self.sends)
    }

    /// Plays the part; answers what was received and whether that ended in order.
    async fn play(self, mut app: TcpStream) -> (Vec<u8>, bool) {
        let bytes = self.bytes();
        let mut dice = Dice(self.seed ^ 0x5a5a_5a5a);
        if let Some(count) = self.resets_after {
            let _ = tokio::time::timeout(
                Duration::from_millis(20),
                write_in_pieces(&mut app, &bytes[..count], &mut dice),
            )
            .await;
            reset(app);
            return (Vec::new(), false);
        }
        let (mut read, mut write) = app.split();
        let send = async {
            write_in_pieces(&mut write, &bytes, &mut dice).await?;
            write.shutdown().await
        };
        let mut got = Vec::new();
        let clean = if self.reads_late {
            send.await.is_ok() & read.read_to_end(&mut got).await.is_ok()
        } else {
            let (sent, received) = tokio::join!(send, read.read_to_end(&mut got));
            sent.is_ok() & received.is_ok()
        };
        (got, clean)
    }
}

async fn run(seed: u64, leases: u64, tls: bool) -> u32 {
    let mut host = Host::new(Answer::Dial);
    let mut dice = Dice(seed);
    let mut tunnel = None;
    let mut tunnels = 0;
    // Whether a lease of this tunnel was reset. Its server may have waited too long for the end of
    // that one, and its CLOSE may come while the next one goes on.
    let mut was_reset = false;
    for lease in 0..leases {
        let ready = match tunnel.take() {
            Some(tunnel) => tunnel,
            None => {
                tunnels += 1;
                was_reset = false;
                if tls {
                    host.tls_tunnel().await.0
                } else {
                    host.tunnel().await.0
                }
            }
        };
        let client = Part::new(seed << 32 | lease << 1 | 1, &mut dice);
        let server = Part::new(seed << 32 | lease << 1 | 2 << 24, &mut dice);
        let (app, near) = pair().await;
        let task = carry_from(ready, near, Opening::default(), lease);
        let client_app = tokio::spawn(client.play(app));
        // A server that gave its end of the last lease up may have closed: then another.
        let spare = if tls {
            host.tls_tunnel().await.0
        } else {
            host.tunnel().await.0
        };
        let task = tokio::spawn(async move {
            let end = end_of(task).await;
            match end.outcome {
                Outcome::NotAccepted { app, replay } => {
                    end_of(carry_from(spare, app, replay, lease)).await
                }
                _ => end,
            }
        });
        // A client that resets at once may be gone before the server dials.
        let at_server = match host.accept_or_over(lease, &task).await {
            Some(app) => Some(soon(server.play(app)).await),
            None => None,
        };
        let (at_client, client_clean) = soon(client_app).await.unwrap();
        let end = soon(task).await.unwrap();
        assert!(client.bytes().len() == client.sends);
        assert!(
            server.bytes().starts_with(&at_client),
            "lease {lease}: foreign bytes at the client"
        );
        if let Some((got, server_clean)) = at_server {
            assert!(
                client.bytes().starts_with(&got),
                "lease {lease}: foreign bytes at the server"
            );
            let resets = client.resets_after.is_some() || server.resets_after.is_some();
            if !resets {
                assert!(
                    client_clean && server_clean,
                    "lease {lease}: {client:?} {server:?} {end:?}"
                );
                assert!(
                    matches!(end.outcome, Outcome::Clean),
                    "lease {lease}: {end:?}"
                );
                assert_eq!((got.len(), at_client.len()), (client.sends, server.sends));
                assert!(end.tunnel.is_some() || was_reset, "lease {lease}: {end:?}");
            }
        }
        was_reset |= client.resets_after.is_some() || server.resets_after.is_some();
        tunnel = end.tunnel;
    }
    tunnels
}

impl Host {
    /// The server's end of a lease, unless the lease is over without one.
    async fn accept_or_over<T>(&mut self, id: u64, lease: &JoinHandle<T>) -> Option<TcpStream> {
        soon(async {
            loop {
                match self.accepted.try_recv() {
                    Ok((got, app)) if got == open(id).id => return Some(app),
                    Ok(_) => {}
                    Err(_) if lease.is_finished() => return None,
                    Err(_) => tokio::time::sleep(Duration::from_micros(200)).await,
                }
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_of_one_lease_reaches_another_and_none_is_lost() {
    let runs: Vec<_> = (1..=4)
        .map(|seed| tokio::spawn(run(seed, 300, seed % 2 == 0)))
        .collect();
    for run in runs {
        let tunnels = run.await.unwrap();
        assert!(tunnels < 150, "{tunnels} tunnels for 300 leases");
    }
}

#[tokio::test]
async fn a_lease_that_meets_the_servers_close_is_carried_by_another_tunnel() {
    let mut host = Host::new(Answer::Dial);
    let mut replayed = 0;
    for round in 0..1000u32 {
        let message = round.to_be_bytes();
        let (tunnel, mut server) = host.tunnel().await;
        let (mut app, near) = pair().await;
        app.write_all(&message).await.unwrap();
        if round % 3 == 0 {
            app.shutdown().await.unwrap();
        }
        let stop = server.stop.take().unwrap();
        tokio::spawn(async move {
            for _ in 0..round % 16 {
                tokio::task::yield_now().await;
            }
            // The server may have ended already.
            let _ = stop.send(());
        });
        let mut task = carry_from(tunnel, near, Opening::default(), round.into());
        let apps = host.dialer();
        let answer = async {
            let mut server = host.accept().await;
            let mut got = [0; 4];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(got, message);
            server.write_all(&got).await.unwrap();
            server.shutdown().await.unwrap();
            server
        };
        tokio::pin!(answer);
        // Either the first tunnel carries it, or a second one does, never both.
        let _server = loop {
            tokio::select! {
                biased;
                server = &mut answer => break server,
                end = &mut task => {
                    let end = end.unwrap().0;
                    assert!(end.tunnel.is_none());
                    match end.outcome {
                        Outcome::NotAccepted { app, replay } => {
                            replayed += 1;
                            let (next, _) = serving(apps.clone()).await;
                            task = carry_from(Tunnel::new(Box::new(next)), app, replay, round.into());
                        }
                        other => panic!("round {round}: {other:?}"),
                    }
                }
            }
        };
        let (got, end) = drain(&mut app).await;
        end.unwrap();
        assert_eq!(got, message);
        drop(app);
        let end = end_of(task).await;
        assert!(
            matches!(end.outcome, Outcome::Clean),
            "round {round}: {:?}",
            end.outcome
        );
    }
    assert!(
        (1..1000).contains(&replayed),
        "no race: {replayed} of 1000 leases met a CLOSE"
    );
}
