//! What a pipe between the sockets must not change.

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

const MIB: usize = 1 << 20;

/// Bytes of bulk each way.
const BULK: usize = 128 * MIB;

/// A stream of bytes that only its seed repeats, as long as it is asked for.
struct Stream {
    dice: Dice,
    block: Vec<u8>,
}

impl Stream {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(1),
            block: Dice(seed).bytes(MIB),
        }
    }

    /// The next `most` bytes at most, which differ from those that came before.
    fn next(&mut self, most: usize) -> &[u8] {
        let from = self.dice.roll(MIB / 2);
        &self.block[from..from + most.min(MIB / 2)]
    }
}

/// Now and then somebody has something else to do.
async fn pause(dice: &mut Dice) {
    match dice.roll(64) {
        0 => tokio::time::sleep(Duration::from_millis(dice.roll(4) as u64)).await,
        1..8 => tokio::task::yield_now().await,
        _ => {}
    }
}

async fn send(mut to: impl AsyncWrite + Unpin, seed: u64, length: usize) {
    let (mut stream, mut dice) = (Stream::new(seed), Dice(seed + 1));
    let mut left = length;
    while left > 0 {
        let piece = stream.next(left);
        to.write_all(piece).await.unwrap();
        left -= piece.len();
        pause(&mut dice).await;
    }
}

async fn check(mut from: impl AsyncRead + Unpin, seed: u64, length: usize) {
    let (mut stream, mut dice) = (Stream::new(seed), Dice(seed + 2));
    let mut left = length;
    let mut got = vec![0; MIB];
    while left > 0 {
        let expected = stream.next(left);
        left -= expected.len();
        let mut at = 0;
        while at < expected.len() {
            let most = (at + 1 + dice.roll(300_000)).min(expected.len());
            let count = from.read(&mut got[at..most]).await.unwrap();
            assert_ne!(count, 0, "an end before its time");
            at += count;
            pause(&mut dice).await;
        }
        assert!(got[..at] == *expected, "other bytes than were sent");
    }
}

/// Whether the end of the stream is what comes next.
async fn is_at_end(from: &mut TcpStream) -> bool {
    soon(from.read(&mut [0])).await.unwrap() == 0
}

#[tokio::test]
async fn bulk_with_pauses_both_ways_at_once_arrives_whole() {
    for how in [How::Spliced, How::Chosen] {
        let (mut client, mut server, task) = relayed(how, Start::default(), None).await;
        let (asked, asking) = client.split();
        let (answered, answering) = server.split();
        tokio::join!(
            send(asking, 11, BULK),
            check(answered, 11, BULK),
            send(answering, 22, BULK),
            check(asked, 22, BULK),
        );
        client.shutdown().await.unwrap();
        assert!(is_at_end(&mut server).await);
        server.shutdown().await.unwrap();
        assert!(is_at_end(&mut client).await);
        let (end, moved) = ended(task).await;
        end.unwrap();
        assert_eq!((moved.up, moved.down), (BULK as u64, BULK as u64));
    }
}

#[tokio::test]
async fn bulk_and_small_messages_in_turn_lose_nothing() {
    let (mut client, mut server, task) = relayed(How::Chosen, Start::default(), None).await;
    let mut dice = Dice(5);
    for round in 1..=20 {
        soon(async {
            tokio::join!(
                send(&mut client, round, 4 * MIB),
                check(&mut server, round, 4 * MIB)
            )
        })
        .await;
        for _ in 0..50 {
            let length = 1 + dice.roll(20_000);
            let message = dice.bytes(length);
            let mut got = vec![0; message.len()];
            client.write_all(&message).await.unwrap();
            soon(server.read_exact(&mut got)).await.unwrap();
            server.write_all(&got).await.unwrap();
            soon(client.read_exact(&mut got)).await.unwrap();
            assert_eq!(got, message);
        }
    }
    drop(client);
    assert!(is_at_end(&mut server).await);
    drop(server);
    ended(task).await.0.unwrap();
}

#[tokio::test]
async fn more_segments_than_a_pipe_has_room_for_arrive_each() {
    let (mut client, mut server, task) = relayed(How::Spliced, Start::default(), None).await;
    let bytes = Dice(9).bytes(5_000);
    for byte in &bytes {
        client.write_u8(*byte).await.unwrap();
    }
    client.shutdown().await.unwrap();
    assert_eq!(drain(&mut server).await.0, bytes);
    drop(server);
    ended(task).await.0.unwrap();
}

#[tokio::test]
async fn urgent_data_stops_nothing_behind_it() {
    for how in EACH {
        let (client, mut server, task) = relayed(how, Start::default(), None).await;
        let mut got = [0; 11];
        client.writable().await.unwrap();
        // All of it is there at once, so that nothing wakes the relay behind the mark.
        let socket = SockRef::from(&client);
        socket.send(b"before").unwrap();
        socket.send_out_of_band(b"!").unwrap();
        socket.send(b"after").unwrap();
        soon(server.read_exact(&mut got)).await.unwrap();
        assert_eq!(&got, b"beforeafter", "{how:?}");
        task.abort();
    }
}

#[tokio::test]
async fn an_end_behind_a_full_pipe_comes_after_its_bytes_and_the_answer_still_comes() {
    for how in EACH {
        let (mut client, mut server, task) = relayed(how, Start::default(), None).await;
        let taken = fill(&mut client).await;
        client.shutdown().await.unwrap();
        let (got, end) = drain(&mut server).await;
        end.unwrap();
        assert_eq!(got.len(), taken);
        server.write_all(b"thanks").await.unwrap();
        server.shutdown().await.unwrap();
        assert_eq!(drain(&mut client).await.0, b"thanks");
        let (end, moved) = ended(task).await;
        end.unwrap();
        assert_eq!(
            moved,
            Moved {
                up: taken as u64,
                down: 6
            }
        );
    }
}

#[tokio::test]
async fn a_reader_that_resets_with_bytes_in_the_pipe_ends_both_sides() {
    for how in EACH {
        let (mut client, server, task) = relayed(how, Start::default(), None).await;
        let taken = fill(&mut client).await;
        reset(server);
        let (_, end) = drain(&mut client).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let (end, moved) = ended(task).await;
        assert_eq!(end.unwrap_err().reason, Reason::Reset);
        assert!(
            moved.up > 0 && moved.up < taken as u64,
            "{moved:?} of {taken}"
        );
    }
}

#[tokio::test]
async fn what_a_client_sent_before_its_reset_is_delivered_before_the_reset() {
    for how in EACH {
        let (mut client, a) = pair().await;
        let (b, mut server) = pair().await;
        client.write_all(&[7; 50_000]).await.unwrap();
        reset(client);
        while !a.is_reset() {
            tokio::task::yield_now().await;
        }
        let task = tokio::spawn(async move {
            let mut moved = Moved::default();
            let end = how.carry((a, b), Start::default(), None, &mut moved).await;
            (end, moved)
        });
        let (got, end) = drain(&mut server).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(got.len(), 50_000);
        let (end, moved) = ended(task).await;
        assert_eq!(end.unwrap_err().reason, Reason::Reset);
        assert_eq!(moved.up, 50_000);
    }
}

#[tokio::test]
async fn a_cancelled_relay_has_counted_what_it_wrote_and_no_byte_in_a_pipe() {
    let (mut client, mut a) = pair().await;
    let (mut b, mut server) = pair().await;
    let mut moved = Moved::default();
    let mut pumps = (Pump::splicing(Vec::new()), Pump::splicing(Vec::new()));
    let taken = tokio::select! {
        taken = fill(&mut client) => taken,
        end = pump(&mut a, &mut b, &mut pumps, None, &mut moved) => panic!("it ended: {end:?}"),
    };
    drop(pumps);
    // It was left to be reset, which would take back what was written and not yet delivered.
    SockRef::from(&b).set_linger(None).unwrap();
    drop(b);
    let (got, end) = drain(&mut server).await;
    end.unwrap();
    assert_eq!(got.len() as u64, moved.up);
    assert!(moved.up < taken as u64);
    assert!(pipe::kept_are_empty());
}
