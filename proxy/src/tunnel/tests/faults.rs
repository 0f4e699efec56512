//! Peers that fail at every byte of a valid exchange, in every way that a connection can fail.

use std::{ops::RangeInclusive, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use super::{
    frame::{Kind, header, numbered, reset as reset_frame},
    *,
};
use crate::relay::loopback::reset;

/// Stalls wait for the times that bound them, all at once.
const AT_ONCE: usize = 200;
const IDLE: Duration = Duration::from_millis(100);
/// Idle time, a second for the reset to be answered, another after CLOSE, five of linger.
const BOUND: Duration = Duration::from_secs(15);

/// What goes wrong before the byte at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An orderly end.
    Close,
    /// A TCP reset.
    Reset,
    /// Nothing more comes, and the connection stays.
    Stall,
    /// That byte is another one; all that follows comes, and then the end.
    Flip(u8),
    /// A frame of an unknown type is put in.
    Insert,
}

const FAULTS: [Fault; 7] = [
    Fault::Close,
    Fault::Reset,
    Fault::Stall,
    Fault::Flip(0x01),
    Fault::Flip(0x80),
    Fault::Flip(0xff),
    Fault::Insert,
];

impl Fault {
    /// What is sent of `exchange`.
    fn apply(self, exchange: &[u8], at: usize) -> Vec<u8> {
        let (before, after) = exchange.split_at(at);
        let mut sent = before.to_vec();
        match self {
            Self::Close | Self::Reset | Self::Stall => {}
            Self::Flip(bits) => {
                sent.extend_from_slice(after);
                if let Some(byte) = sent.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Insert => {
                sent.extend_from_slice(&[9, 0, 0, 1, 0]);
                sent.extend_from_slice(after);
            }
        }
        sent
    }

    /// Plays the peer on `raw`: sends, fails, and takes what comes.
    async fn play(self, mut raw: TcpStream, sent: Vec<u8>) {
        let _ = raw.write_all(&sent).await;
        match self {
            Self::Reset => return reset(raw),
            Self::Stall => {}
            _ => {
                let _ = raw.shutdown().await;
            }
        }
        let _ = raw.read_to_end(&mut Vec::new()).await;
    }
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&header(Kind::Data, bytes.len())[..], bytes].concat()
}

fn frames(number: u32, kinds: &[Kind]) -> Vec<u8> {
    let of = |kind: &Kind| match kind {
        Kind::Open => open(number.into()).encode(LeaseNumber(number)).unwrap(),
        Kind::Data => data(format!("of lease {number}").as_bytes()),
        Kind::Reset => reset_frame(LeaseNumber(number), ResetCode::Application).to_vec(),
        kind => numbered(*kind, LeaseNumber(number)).to_vec(),
    };
    kinds.iter().flat_map(of).collect()
}

/// What a stream says, up to where it breaks: the bytes of each lease and whether they ended.
fn meaning(sent: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let (mut decoder, mut rest) = (Decoder::default(), sent);
    let mut leases = Vec::new();
    while let Ok((used, Some(event))) = decoder.next(rest) {
        rest = &rest[used..];
        match event {
            Event::Open(..) | Event::Opened(_) => leases.push((Vec::new(), false)),
            Event::Data(count) => {
                let Some((bytes, _)) = leases.last_mut() else {
                    return leases;
                };
                bytes.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
            Event::Eof(_) => {
                if let Some((_, ended)) = leases.last_mut() {
                    *ended = true;
                }
            }
            Event::Reset(..) | Event::Close(_) => {}
        }
    }
    leases
}

/// Nothing was delivered that was not sent, and no end that was not one.
#[track_caller]
fn is_honest(what: &str, (got, clean): &(Vec<u8>, bool), sent: Option<&(Vec<u8>, bool)>) {
    let (due, ended) = sent.cloned().unwrap_or_default();
    assert!(due.starts_with(got), "{what}: {got:?} came of {due:?}");
    assert!(
        !clean || (ended && *got == due),
        "{what}: an end that was none"
    );
}

/// Runs `case` for each fault at each of the places, many at once.
async fn everywhere<F>(places: RangeInclusive<usize>, case: impl Fn(Fault, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut cases = Vec::new();
    for fault in FAULTS {
        for at in places.clone() {
            let (room, case) = (Arc::clone(&room), case(fault, at));
            cases.push(tokio::spawn(async move {
                let _room = room.acquire().await.unwrap();
                let ended = tokio::time::timeout(BOUND, case).await;
                ended.unwrap_or_else(|_| panic!("{fault:?} at byte {at}: it hangs"));
            }));
        }
    }
    for case in cases {
        case.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_outlives_a_client_that_fails_at_any_byte_and_delivers_only_what_was_sent() {
    use Kind::{Data, Eof, Open, Reset};
    let exchange = [
        frames(1, &[Open, Data, Data, Eof]),
        frames(2, &[Open, Data, Reset]),
        frames(3, &[Open, Eof]),
    ]
    .concat();
    everywhere(0..=exchange.len(), |fault, at| {
        serve_a_failing_client(fault, at, fault.apply(&exchange, at))
    })
    .await;
}

async fn serve_a_failing_client(fault: Fault, at: usize, sent: Vec<u8>) {
    let what = format!("{fault:?} at byte {at}");
    let (apps, mut accepted) = mpsc::unbounded_channel();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let dialer = Dialer {
        apps,
        ended,
        answer: Answer::Dial,
    };
    let (raw, far) = pair().await;
    let options = Options {
        idle: IDLE,
        lease_idle: Some(IDLE),
    };
    let meant = meaning(&sent);
    let peer = tokio::spawn(fault.play(raw, sent));
    let served = tokio::spawn(async move {
        let server = serve(far, &dialer, options, std::future::pending()).await;
        drop(dialer);
        server
    });
    let mut got = Vec::new();
    while let Some((_, mut app)) = accepted.recv().await {
        let mut bytes = Vec::new();
        let clean = app.read_to_end(&mut bytes).await.is_ok();
        let _ = app.write_all(b"answer").await;
        got.push((bytes, clean));
    }
    let end = served.await.unwrap();
    for (lease, got) in got.iter().enumerate() {
        is_honest(&what, got, meant.get(lease));
    }
    // Each lease was told once how it ended, and none that was cut off looks like a clean one.
    for (bytes, clean) in &got {
        let (moved, end) = ends.recv().await.unwrap();
        assert_eq!(moved.up, bytes.len() as u64, "{what}");
        assert!(
            *clean || end.is_err(),
            "{what}: cut off, and told as {end:?}"
        );
    }
    assert!(
        ends.recv().await.is_none(),
        "{what}: a lease was told twice"
    );
    if let Err(refusal) = end {
        let known = [
            Reason::TunnelProtocol,
            Reason::TunnelLost,
            Reason::Reset,
            Reason::IdleTimeout,
        ];
        assert!(known.contains(&refusal.reason), "{what}: {refusal}");
    }
    peer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_outlives_a_server_that_fails_at_any_byte_and_delivers_only_what_was_sent() {
    use Kind::{Close, Data, Eof, Opened, Reset};
    for answer in [
        frames(1, &[Opened, Data, Data, Eof]),
        frames(1, &[Opened, Data, Close, Data, Eof]),
        frames(1, &[Opened, Data, Reset]),
        frames(1, &[Reset]),
        frames(0, &[Close]),
    ] {
        everywhere(0..=answer.len(), |fault, at| {
            ask_a_failing_server(fault, at, fault.apply(&answer, at))
        })
        .await;
    }
}

async fn ask_a_failing_server(fault: Fault, at: usize, sent: Vec<u8>) {
    let what = format!("{fault:?} at byte {at} of {sent:?}");
    let (near, mut raw) = pair().await;
    let (mut app, lease) = pair().await;
    app.write_all(b"ask").await.unwrap();
    app.shutdown().await.unwrap();
    let meant = meaning(&sent);
    let disowned = sent.starts_with(&numbered(Kind::Close, LeaseNumber(0)));
    let peer = tokio::spawn(async move {
        // An answer before the question is no exchange.
        let mut asked = vec![0; frames(1, &[Kind::Open]).len()];
        raw.read_exact(&mut asked).await.unwrap();
        fault.play(raw, sent).await;
    });
    let patience = Patience {
        answer: IDLE,
        idle: Some(IDLE),
    };
    let carried = tokio::spawn(async move {
        let mut moved = Moved::default();
        let tunnel = Tunnel::new(near);
        let opening = Opening::default();
        let end = tunnel
            .lease(&open(1), lease, opening, patience, &mut moved)
            .await;
        // Both are given up here, in whatever state they are.
        (end.tunnel.is_some(), end.outcome, moved)
    });
    let mut bytes = Vec::new();
    let read = tokio::spawn(async move {
        let clean = app.read_to_end(&mut bytes).await.is_ok();
        (bytes, clean)
    });
    let (kept, outcome, moved) = carried.await.unwrap();
    match outcome {
        Outcome::Clean => assert!(meant[0].1, "{what}: clean without an EOF"),
        Outcome::NotAccepted { mut app, replay } => {
            assert!(disowned && !kept, "{what}: replayed without CLOSE");
            // What the lease had not read yet is still to be had of the application.
            let mut all = replay.bytes.to_vec();
            if !replay.ended {
                app.read_to_end(&mut all).await.unwrap();
            }
            assert_eq!(all, b"ask", "{what}");
            reset(app);
        }
        Outcome::Refused(refusal) => {
            let known = [
                Reason::TunnelProtocol,
                Reason::TunnelLost,
                Reason::Reset,
                Reason::PeerRefused,
                Reason::IdleTimeout,
                Reason::ConnectTimeout,
            ];
            assert!(known.contains(&refusal.reason), "{what}: {refusal}");
        }
    }
    let got = read.await.unwrap();
    assert_eq!(moved.down, got.0.len() as u64, "{what}");
    is_honest(&what, &got, meant.first());
    peer.await.unwrap();
}
