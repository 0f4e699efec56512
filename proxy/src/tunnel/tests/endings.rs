//! How one lease ends, and what that leaves.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::relay::loopback::{drain, fill, reset};

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_without_a_byte_of_the_client() {
    let mut host = Host::new(Answer::Dial);
    let (tunnel, _serving) = host.tunnel().await;
    let mut carried = carry(tunnel).await;
    let mut server = host.accept().await;
    server.write_all(b"220 ready").await.unwrap();
    let mut banner = [0; 9];
    soon(carried.app.read_exact(&mut banner)).await.unwrap();
    assert_eq!(&banner, b"220 ready");
}

#[tokio::test]
async fn a_half_close_passes_each_way_and_the_tunnel_is_used_again() {
    let mut host = Host::new(Answer::Dial);
    let (mut tunnel, _serving) = host.tunnel().await;
    for client_first in [true, false] {
        let carried = carry(tunnel).await;
        let server = host.accept().await;
        let (mut first, mut second) = if client_first {
            (carried.app, server)
        } else {
            (server, carried.app)
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
        let (end, moved) = soon(carried.task).await.unwrap();
        assert!(matches!(end.outcome, Outcome::Clean));
        let (up, down) = if client_first { (3, 6) } else { (6, 3) };
        assert_eq!(moved, Moved { up, down });
        let (there, clean) = host.ended().await;
        clean.unwrap();
        assert_eq!(there, moved);
        tunnel = end.tunnel.expect("it may be used again");
    }
    assert_eq!(tunnel.leases(), 2);
    assert!(tunnel.is_usable());
}

#[tokio::test]
async fn a_reset_of_either_application_is_a_reset_at_the_other_and_spares_the_tunnel() {
    let mut host = Host::new(Answer::Dial);
    let (mut tunnel, _serving) = host.tunnel().await;
    for of_client in [true, false] {
        let mut carried = carry(tunnel).await;
        carried.app.write_all(b"x").await.unwrap();
        let mut server = host.accept().await;
        assert_eq!(soon(server.read_u8()).await.unwrap(), b'x');
        let (gone, mut left) = if of_client {
            (carried.app, server)
        } else {
            (server, carried.app)
        };
        reset(gone);
        let (_, end) = drain(&mut left).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let end = end_of(carried.task).await;
        assert_eq!(reason(end.outcome), Reason::Reset);
        assert_eq!(host.ended().await.1.unwrap_err().reason, Reason::Reset);
        tunnel = end.tunnel.expect("it may be used again");
    }
}

#[tokio::test]
async fn a_reset_is_noticed_while_both_applications_are_stalled() {
    for of_client in [true, false] {
        let mut host = Host::new(Answer::Dial);
        let (tunnel, serving) = host.tunnel().await;
        let mut carried = carry(tunnel).await;
        let mut server = host.accept().await;
        // Each writes all that is taken and reads nothing.
        let (up, down) =
            soon(async { tokio::join!(fill(&mut carried.app), fill(&mut server)) }).await;
        assert!(
            up < 8 << 20 && down < 8 << 20,
            "{up} and {down} bytes were taken"
        );
        let (gone, mut left) = if of_client {
            (carried.app, server)
        } else {
            (server, carried.app)
        };
        reset(gone);
        let end = end_of(carried.task).await;
        assert!(
            matches!(end.outcome, Outcome::Refused(_)),
            "{:?}",
            end.outcome
        );
        assert!(
            end.tunnel.is_none(),
            "a stalled tunnel is closed, not drained"
        );
        assert!(host.ended().await.1.is_err());
        let (_, end) = drain(&mut left).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        drop(serving);
    }
}

#[tokio::test]
async fn a_tunnel_cut_off_without_close_resets_both_applications() {
    for from_server in [true, false] {
        let mut host = Host::new(Answer::Dial);
        let (tunnel, serving) = host.tunnel().await;
        let mut carried = carry(tunnel).await;
        carried.app.write_all(b"x").await.unwrap();
        let mut server = host.accept().await;
        server.read_u8().await.unwrap();
        if from_server {
            serving.task.abort();
        } else {
            carried.task.abort();
        }
        for app in [&mut carried.app, &mut server] {
            let (_, end) = drain(app).await;
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        let (moved, end) = host.ended().await;
        assert_eq!(moved.up, 1);
        let expected = if from_server {
            let end = end_of(carried.task).await;
            assert_eq!(reason(end.outcome), Reason::TunnelLost);
            Reason::DrainDeadline
        } else {
            Reason::TunnelLost
        };
        assert_eq!(end.unwrap_err().reason, expected);
    }
}

#[tokio::test]
async fn a_refused_lease_resets_the_application_and_spares_the_tunnel() {
    let host = Host::new(Answer::Refuse);
    let (mut tunnel, _serving) = host.tunnel().await;
    for _ in 0..3 {
        let mut carried = carry(tunnel).await;
        let _ = carried.app.write_all(b"let me in").await;
        let (_, end) = drain(&mut carried.app).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let end = end_of(carried.task).await;
        assert_eq!(reason(end.outcome), Reason::PeerRefused);
        tunnel = end.tunnel.expect("it may be used again");
    }
}

#[tokio::test]
async fn a_client_that_gives_up_during_a_dial_that_hangs_is_free_at_once() {
    let host = Host::new(Answer::Hang);
    let (tunnel, _serving) = host.tunnel().await;
    let mut carried = carry(tunnel).await;
    let taken = fill(&mut carried.app).await;
    assert!(taken < 4 << 20, "{taken} bytes were taken for nobody");
    reset(carried.app);
    let end = end_of(carried.task).await;
    assert_eq!(reason(end.outcome), Reason::Reset);
    assert!(end.tunnel.is_some(), "the server answered the reset");
}

#[tokio::test]
async fn a_drain_lets_the_lease_end_and_then_closes_the_tunnel() {
    let mut host = Host::new(Answer::Dial);
    let (tunnel, mut serving) = host.tunnel().await;
    let mut carried = carry(tunnel).await;
    let mut server = host.accept().await;
    serving.stop.take().unwrap().send(()).unwrap();
    server.write_all(b"still here").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(drain(&mut carried.app).await.0, b"still here");
    carried.app.shutdown().await.unwrap();
    let end = end_of(carried.task).await;
    assert!(matches!(end.outcome, Outcome::Clean), "{:?}", end.outcome);
    assert!(end.tunnel.is_none(), "no lease may follow");
    host.ended().await.1.unwrap();
    soon(serving.task).await.unwrap().unwrap();
}
