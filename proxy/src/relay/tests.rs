use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::{
    loopback::{Dice, Io, drain, fill, pair, reset, soon, tls_pair, write_in_pieces},
    *,
};

mod splicing;

type Ended = JoinHandle<(Result<(), Refusal>, Moved)>;

/// How bytes get from one socket to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Copied,
    /// Through a pipe from the first byte on.
    Spliced,
    /// As the relay itself chooses.
    Chosen,
}

const EACH: [How; 2] = [How::Copied, How::Spliced];

/// Each, for the client's side (`true`) and the server's.
fn each_side() -> impl Iterator<Item = (How, bool)> {
    EACH.into_iter().flat_map(|how| [(how, true), (how, false)])
}

impl How {
    async fn carry(
        self,
        (mut a, mut b): (TcpStream, TcpStream),
        start: Start,
        idle: Option<Duration>,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        match self {
            Self::Copied => {
                // In a box nobody sees what they are.
                let (mut a, mut b): (Io, Io) = (Box::new(a), Box::new(b));
                relay(&mut a, &mut b, start, idle, moved).await
            }
            Self::Spliced => {
                let mut pumps = (Pump::splicing(start.to_b), Pump::splicing(start.to_a));
                pump(&mut a, &mut b, &mut pumps, idle, moved).await
            }
            Self::Chosen => relay(&mut a, &mut b, start, idle, moved).await,
        }
    }
}

/// A relay between two TCP connections; answers the client's and the server's far ends.
async fn relayed(how: How, start: Start, idle: Option<Duration>) -> (TcpStream, TcpStream, Ended) {
    let (client, a) = pair().await;
    let (b, server) = pair().await;
    let task = tokio::spawn(async move {
        let mut moved = Moved::default();
        let end = how.carry((a, b), start, idle, &mut moved).await;
        (end, moved)
    });
    (client, server, task)
}

async fn ended(task: Ended) -> (Result<(), Refusal>, Moved) {
    soon(task).await.unwrap()
}

#[tokio::test]
async fn every_byte_arrives_whatever_the_sizes_of_writes() {
    for how in EACH {
        let (mut client, mut server, task) = relayed(how, Start::default(), None).await;
        let (up, down) = (Dice(1).bytes(5_000_000), Dice(2).bytes(3_000_000));
        let (sent_up, sent_down) = (up.clone(), down.clone());
        let client = tokio::spawn(async move {
            let (mut read, mut write) = client.split();
            let send = async {
                write_in_pieces(&mut write, &sent_up, &mut Dice(3))
                    .await
                    .unwrap();
                write.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, end) = tokio::join!(send, read.read_to_end(&mut got));
            end.unwrap();
            got
        });
        let (mut read, mut write) = server.split();
        let send = async {
            write_in_pieces(&mut write, &sent_down, &mut Dice(4))
                .await
                .unwrap();
            write.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (_, end) = soon(async { tokio::join!(send, read.read_to_end(&mut got)) }).await;
        end.unwrap();
        assert!(got == up, "the server got other bytes than the client sent");
        assert!(
            soon(client).await.unwrap() == down,
            "the client got other bytes"
        );
        let (end, moved) = ended(task).await;
        end.unwrap();
        assert_eq!((moved.up, moved.down), (5_000_000, 3_000_000));
    }
}

#[tokio::test]
async fn bytes_read_before_the_relay_come_first() {
    for how in EACH {
        let start = Start {
            to_b: b"hello ".to_vec(),
            to_a: b"220 ".to_vec(),
        };
        let (mut client, mut server, task) = relayed(how, start, None).await;
        client.write_all(b"server").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(drain(&mut server).await.0, b"hello server");
        server.write_all(b"ready").await.unwrap();
        drop(server);
        assert_eq!(drain(&mut client).await.0, b"220 ready");
        let (end, moved) = ended(task).await;
        end.unwrap();
        assert_eq!(moved, Moved { up: 12, down: 9 });
    }
}

#[tokio::test]
async fn a_half_close_passes_and_the_other_direction_goes_on() {
    for (how, client_first) in each_side() {
        let (client, server, task) = relayed(how, Start::default(), None).await;
        let (mut first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        first.write_all(b"ask").await.unwrap();
        first.shutdown().await.unwrap();
        let (got, end) = drain(&mut second).await;
        end.unwrap();
        assert_eq!(got, b"ask");
        second.write_all(b"answer").await.unwrap();
        second.shutdown().await.unwrap();
        let (got, end) = drain(&mut first).await;
        end.unwrap();
        assert_eq!(got, b"answer");
        ended(task).await.0.unwrap();
    }
}

#[tokio::test]
async fn a_reset_of_either_side_is_a_reset_at_the_other() {
    for (how, of_client) in each_side() {
        let (client, server, task) = relayed(how, Start::default(), None).await;
        let (gone, mut left) = if of_client {
            (client, server)
        } else {
            (server, client)
        };
        reset(gone);
        let (_, end) = drain(&mut left).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(ended(task).await.0.unwrap_err().reason, Reason::Reset);
    }
}

#[tokio::test]
async fn a_stalled_reader_stops_the_sender() {
    for how in EACH {
        let (mut client, _server, task) = relayed(how, Start::default(), None).await;
        let taken = fill(&mut client).await;
        assert!(
            taken < 8 << 20,
            "{taken} bytes were taken for a reader that reads none"
        );
        task.abort();
    }
}

#[tokio::test]
async fn a_reset_is_noticed_while_the_other_side_reads_nothing() {
    for (how, of_client) in each_side() {
        let (client, server, task) = relayed(how, Start::default(), None).await;
        let (mut gone, left) = if of_client {
            (client, server)
        } else {
            (server, client)
        };
        fill(&mut gone).await;
        reset(gone);
        let (end, moved) = ended(task).await;
        assert_eq!(end.unwrap_err().reason, Reason::Reset);
        assert!(
            moved.up + moved.down > 0,
            "what was written before it counts"
        );
        drop(left);
    }
}

#[tokio::test]
async fn a_reset_is_noticed_after_a_half_close() {
    for how in EACH {
        let (mut client, server, task) = relayed(how, Start::default(), None).await;
        client.shutdown().await.unwrap();
        reset(client);
        assert_eq!(ended(task).await.0.unwrap_err().reason, Reason::Reset);
        drop(server);
    }
}

#[tokio::test]
async fn a_dropped_relay_looks_cut_off_to_both_sides() {
    for how in EACH {
        let (mut client, mut server, task) = relayed(how, Start::default(), None).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        task.abort();
        for side in [&mut client, &mut server] {
            let (_, end) = drain(side).await;
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[tokio::test]
async fn an_idle_connection_ends_when_it_has_an_idle_time() {
    for how in EACH {
        let idle = Duration::from_millis(50);
        let (_client, _server, task) = relayed(how, Start::default(), Some(idle)).await;
        assert_eq!(ended(task).await.0.unwrap_err().reason, Reason::IdleTimeout);
    }
}

#[tokio::test]
async fn tls_cut_off_without_close_notify_is_a_reset_and_with_it_a_clean_end() {
    for clean in [true, false] {
        let (mut near, far) = tls_pair().await;
        let (mut app, mut a) = pair().await;
        let mut b = far;
        let task = tokio::spawn(async move {
            let mut moved = Moved::default();
            let end = relay(&mut a, &mut b, Start::default(), None, &mut moved).await;
            (end, moved)
        });
        near.write_all(b"all of it?").await.unwrap();
        near.flush().await.unwrap();
        if clean {
            near.shutdown().await.unwrap();
            let (got, end) = drain(&mut app).await;
            end.unwrap();
            assert_eq!(got, b"all of it?");
            app.shutdown().await.unwrap();
            ended(task).await.0.unwrap();
        } else {
            near.get_mut().0.shutdown().await.unwrap();
            assert_eq!(
                drain(&mut app).await.1.unwrap_err().kind(),
                ErrorKind::ConnectionReset
            );
            assert_eq!(ended(task).await.0.unwrap_err().reason, Reason::Reset);
        }
    }
}

#[tokio::test]
async fn what_a_server_said_before_it_closed_on_unread_bytes_arrives_before_the_reset() {
    for how in EACH {
        let (mut client, a) = pair().await;
        let (mut b, mut server) = pair().await;
        client.write_all(b"a request with a body").await.unwrap();
        b.write_all(b"its first bytes").await.unwrap();
        server.readable().await.unwrap();
        server.write_all(b"too large").await.unwrap();
        drop(server);
        let task = tokio::spawn(async move {
            let mut moved = Moved::default();
            // What is written from here on finds the server gone.
            b.readable().await.unwrap();
            let end = how.carry((a, b), Start::default(), None, &mut moved).await;
            (end, moved)
        });
        let (got, end) = drain(&mut client).await;
        assert_eq!(got, b"too large");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(ended(task).await.0.unwrap_err().reason, Reason::Reset);
    }
}
