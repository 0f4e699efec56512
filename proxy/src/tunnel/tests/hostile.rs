//! Peers that break the rules, stall, or die.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{
    frame::{Kind, header, numbered},
    *,
};
use crate::relay::loopback::{drain, reset};

const ONE: LeaseNumber = LeaseNumber(1);

fn opening(number: u32) -> Vec<u8> {
    open(0).encode(LeaseNumber(number)).unwrap()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&header(Kind::Data, bytes.len())[..], bytes].concat()
}

#[tokio::test]
async fn a_server_resets_a_tunnel_whose_client_breaks_the_format() {
    let eof = numbered(Kind::Eof, ONE).to_vec();
    let with_open = |frame: &[u8]| [&opening(1), frame].concat();
    for (what, bytes) in [
        ("an unknown frame", vec![99, 0, 0, 0]),
        ("DATA without a lease", data(b"x")),
        ("EOF without a lease", eof.clone()),
        ("a lease out of order", opening(2)),
        ("an endless OPEN", vec![1, 0xff, 0xff, 0xff]),
        (
            "OPENED from a client",
            with_open(&numbered(Kind::Opened, ONE)),
        ),
        (
            "CLOSE from a client",
            with_open(&numbered(Kind::Close, ONE)),
        ),
        ("an OPEN within a lease", with_open(&opening(2))),
        (
            "EOF of another lease",
            with_open(&numbered(Kind::Eof, LeaseNumber(2))),
        ),
        ("EOF twice", with_open(&[eof.clone(), eof.clone()].concat())),
        ("DATA after EOF", with_open(&[eof, data(b"x")].concat())),
        ("an unknown frame in a lease", with_open(&[0, 0, 0, 0])),
    ] {
        let host = Host::new(Answer::Dial);
        let (mut raw, serving) = host.connection().await;
        raw.write_all(&bytes).await.unwrap();
        let (_, end) = drain(&mut raw).await;
        assert!(end.is_err(), "{what}: the tunnel ended in order");
        let end = soon(serving.task).await.unwrap();
        assert_eq!(end.unwrap_err().reason, Reason::TunnelProtocol, "{what}");
    }
}

#[tokio::test]
async fn a_server_takes_no_more_during_a_dial_than_a_client_may_send() {
    let host = Host::new(Answer::Hang);
    let (mut raw, serving) = host.connection().await;
    raw.write_all(&opening(1)).await.unwrap();
    let _ = raw.write_all(&data(&vec![0; REPLAY_LIMIT + 1])).await;
    let end = soon(serving.task).await.unwrap();
    assert_eq!(end.unwrap_err().reason, Reason::TunnelProtocol);
}

#[tokio::test]
async fn a_server_that_gives_a_tunnel_up_says_close_before_a_next_open_is_lost() {
    let mut host = Host::new(Answer::Dial);
    let (mut raw, serving) = host.connection().await;
    raw.write_all(&opening(1)).await.unwrap();
    reset(host.accept().await);
    let mut start = [0; 17];
    soon(raw.read_exact(&mut start)).await.unwrap();
    assert_eq!(start[8], Kind::Reset.to_wire());
    // All of this was on its way when the reset came: the client has ended the lease as it
    // should, and begun the next.
    raw.write_all(&data(&vec![0; DISCARD_LIMIT])).await.unwrap();
    raw.write_all(&data(b"x")).await.unwrap();
    raw.write_all(&numbered(Kind::Eof, ONE)).await.unwrap();
    raw.write_all(&opening(2)).await.unwrap();
    raw.shutdown().await.unwrap();
    let (got, end) = drain(&mut raw).await;
    end.unwrap();
    assert!(got.ends_with(&numbered(Kind::Close, ONE)), "{got:?}");
    soon(serving.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_lease_does_not_wait_for_the_application_of_the_one_before() {
    let mut host = Host::new(Answer::Dial);
    let (raw, _serving) = host.connection().await;
    let (mut read, mut write) = raw.into_split();
    write.write_all(&opening(1)).await.unwrap();
    let mut app = host.accept().await;
    app.shutdown().await.unwrap();
    // The application reads nothing: the client's end of the lease is stuck behind these bytes.
    let send = async {
        let block = data(&vec![0; MAX_DATA]);
        while write.write_all(&block).await.is_ok() {}
    };
    let receive = async {
        let mut got = [0; 24];
        read.read_exact(&mut got).await.unwrap();
        got
    };
    let got = soon(async {
        tokio::select! {
            got = receive => got,
            () = send => panic!("the tunnel broke"),
        }
    })
    .await;
    let expected = [Kind::Opened, Kind::Eof, Kind::Close].map(|kind| numbered(kind, ONE));
    assert_eq!(got, expected.concat()[..]);
}

/// A client's lease against a server that the test plays.
async fn against() -> (TcpStream, Carried) {
    let (near, mut raw) = pair().await;
    let carried = carry(Tunnel::new(Box::new(near))).await;
    let mut open = vec![0; opening(1).len()];
    soon(raw.read_exact(&mut open)).await.unwrap();
    (raw, carried)
}

#[tokio::test]
async fn a_client_resets_a_tunnel_whose_server_breaks_the_format() {
    let opened = numbered(Kind::Opened, ONE).to_vec();
    let after = |frame: &[u8]| [&opened, frame].concat();
    for (what, bytes) in [
        ("an unknown frame", vec![0, 0, 0, 0]),
        ("DATA before OPENED", data(b"x")),
        ("EOF before OPENED", numbered(Kind::Eof, ONE).to_vec()),
        ("OPENED twice", after(&opened)),
        (
            "OPENED of another lease",
            numbered(Kind::Opened, LeaseNumber(2)).to_vec(),
        ),
        ("OPEN from a server", after(&opening(2))),
        (
            "CLOSE of a lease to come",
            numbered(Kind::Close, LeaseNumber(2)).to_vec(),
        ),
        (
            "CLOSE that disowns the lease",
            after(&numbered(Kind::Close, LeaseNumber(0))),
        ),
        ("an empty DATA", after(&[3, 0, 0, 0])),
    ] {
        let (mut raw, mut carried) = against().await;
        raw.write_all(&bytes).await.unwrap();
        let (_, end) = drain(&mut carried.app).await;
        assert!(end.is_err(), "{what}: the application saw an end in order");
        let end = end_of(carried.task).await;
        assert!(end.tunnel.is_none(), "{what}");
        assert_eq!(reason(end.outcome), Reason::TunnelProtocol, "{what}");
        assert!(
            drain(&mut raw).await.1.is_err(),
            "{what}: the tunnel ended in order"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_reset_loses_the_tunnel_within_a_second() {
    let (mut raw, carried) = against().await;
    raw.write_all(&numbered(Kind::Opened, ONE)).await.unwrap();
    let begun = Instant::now();
    reset(carried.app);
    let end = end_of(carried.task).await;
    assert!(end.tunnel.is_none());
    assert!(begun.elapsed() < 4 * RESET_GRACE);
    assert!(
        drain(&mut raw).await.1.is_err(),
        "the tunnel ended in order"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_open_is_given_up_and_its_tunnel_reset() {
    let (near, mut raw) = pair().await;
    let (mut app, lease) = pair().await;
    let task = tokio::spawn(async move {
        let patience = Patience {
            answer: Duration::from_millis(50),
            idle: None,
        };
        let (opening, mut moved) = (Opening::default(), Moved::default());
        let tunnel = Tunnel::new(near);
        tunnel
            .lease(&open(0), lease, opening, patience, &mut moved)
            .await
            .outcome
    });
    assert_eq!(reason(soon(task).await.unwrap()), Reason::ConnectTimeout);
    for end in [&mut raw, &mut app] {
        assert!(drain(end).await.1.is_err(), "it ended in order");
    }
}

#[tokio::test]
async fn a_server_that_answered_is_waited_for_without_end() {
    let (near, mut raw) = pair().await;
    let (mut app, lease) = pair().await;
    let answer = Duration::from_millis(50);
    let task = tokio::spawn(async move {
        let patience = Patience { answer, idle: None };
        let (opening, mut moved) = (Opening::default(), Moved::default());
        let tunnel = Tunnel::new(near);
        tunnel
            .lease(&open(0), lease, opening, patience, &mut moved)
            .await
            .outcome
    });
    raw.write_all(&numbered(Kind::Opened, ONE)).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 4 * answer {
        tokio::time::sleep(answer).await;
    }
    raw.write_all(&data(b"late")).await.unwrap();
    raw.write_all(&numbered(Kind::Eof, ONE)).await.unwrap();
    assert_eq!(drain(&mut app).await.0, b"late");
    drop(app);
    assert!(matches!(soon(task).await.unwrap(), Outcome::Clean));
}

#[tokio::test]
async fn a_server_that_goes_on_after_a_reset_is_stopped_by_bytes_and_not_by_time_alone() {
    let (mut raw, carried) = against().await;
    raw.write_all(&numbered(Kind::Opened, ONE)).await.unwrap();
    reset(carried.app);
    let mut frame = [0; 9];
    soon(raw.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[0], Kind::Reset.to_wire());
    let begun = Instant::now();
    let _ = raw.write_all(&data(&vec![0; DISCARD_LIMIT + 1])).await;
    end_of(carried.task).await;
    assert!(begun.elapsed() < RESET_GRACE);
}

#[tokio::test]
async fn a_tunnel_that_dies_before_opened_is_not_replayed() {
    for clean in [true, false] {
        let (mut raw, mut carried) = against().await;
        carried.app.write_all(b"x").await.unwrap();
        if clean {
            raw.shutdown().await.unwrap();
        } else {
            reset(raw);
        }
        assert!(drain(&mut carried.app).await.1.is_err());
        assert_eq!(
            reason(end_of(carried.task).await.outcome),
            Reason::TunnelLost
        );
    }
}

#[tokio::test]
async fn what_was_sent_before_the_answer_is_all_in_the_replay() {
    let (near, mut raw) = pair().await;
    let (mut app, to_lease) = pair().await;
    let first = Opening {
        bytes: vec![b'a'; REPLAY_LIMIT - 10],
        ended: false,
    };
    app.write_all(&[b'b'; 5000]).await.unwrap();
    app.shutdown().await.unwrap();
    let task = carry_from(Tunnel::new(Box::new(near)), to_lease, first, 0);
    let mut start = vec![0; opening(1).len() + 4000];
    soon(raw.read_exact(&mut start)).await.unwrap();
    raw.write_all(&numbered(Kind::Close, LeaseNumber(0)))
        .await
        .unwrap();
    let (end, moved) = soon(task).await.unwrap();
    let Outcome::NotAccepted { mut app, replay } = end.outcome else {
        panic!("{:?}", end.outcome)
    };
    assert_eq!(
        moved,
        Moved::default(),
        "what is sent again is counted once"
    );
    let mut rest = replay.bytes;
    if !replay.ended {
        soon(app.read_to_end(&mut rest)).await.unwrap();
    }
    let expected = [vec![b'a'; REPLAY_LIMIT - 10], vec![b'b'; 5000]].concat();
    assert!(rest == expected, "{} bytes", rest.len());
}

#[tokio::test]
async fn a_client_that_stalls_in_the_middle_of_a_frame_does_not_outlive_the_idle_time() {
    let host = Host::new(Answer::Dial);
    let (mut near, far) = pair().await;
    near.write_all(&opening(1)[..20]).await.unwrap();
    let options = Options {
        idle: Duration::from_millis(50),
        lease_idle: None,
    };
    let dialer = host.dialer();
    let served =
        tokio::spawn(async move { serve(far, &dialer, options, std::future::pending()).await });
    let mut close = [0; 8];
    soon(near.read_exact(&mut close)).await.unwrap();
    assert_eq!(close, numbered(Kind::Close, LeaseNumber(0)));
    drop(near);
    soon(served).await.unwrap().unwrap();
}
