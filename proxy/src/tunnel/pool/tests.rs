use std::{num::NonZero, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;
use crate::relay::loopback::{drain, pair, soon};

fn key(port: u16, generation: u64) -> PoolKey {
    PoolKey {
        netns: 1,
        bind: None,
        device: None,
        mark: 0,
        tos: 0,
        peer: SocketAddr::from(([127, 0, 0, 1], port)),
        own: "web".into(),
        expect: [Expected::Any].into(),
        generation,
    }
}

fn pool(per_key: usize, total: usize) -> Pool<TcpStream> {
    Pool::new(Limits {
        per_key,
        total,
        idle: Duration::from_secs(60),
    })
}

async fn tunnel() -> (Tunnel<TcpStream>, TcpStream) {
    let (near, far) = pair().await;
    (Tunnel::new(near), far)
}

async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_tunnel_used_last_is_taken_first_and_only_under_its_own_key() {
    let pool = pool(4, 8);
    let (first, _far1) = tunnel().await;
    let (second, _far2) = tunnel().await;
    let port = second.io().local_addr().unwrap();
    pool.put(key(1, 0), first);
    pool.put(key(1, 0), second);
    assert!(pool.take(&key(2, 0)).is_none());
    assert_eq!(
        pool.take(&key(1, 0)).unwrap().io().local_addr().unwrap(),
        port
    );
    assert!(pool.take(&key(1, 0)).is_some());
    assert!(pool.take(&key(1, 0)).is_none());
}

/// Two namespaces may have equal addresses on both ends of their connections.
#[tokio::test]
async fn what_differs_in_anything_does_not_share_a_tunnel() {
    let pool = pool(4, 8);
    let own = || key(1, 1);
    for (what, other) in [
        ("namespace", PoolKey { netns: 2, ..own() }),
        (
            "source",
            PoolKey {
                bind: Some([10, 0, 0, 1].into()),
                ..own()
            },
        ),
        (
            "device",
            PoolKey {
                device: NonZero::new(3),
                ..own()
            },
        ),
        ("mark", PoolKey { mark: 7, ..own() }),
        ("service", PoolKey { tos: 8, ..own() }),
        ("peer", key(2, 1)),
        (
            "own identity",
            PoolKey {
                own: "api".into(),
                ..own()
            },
        ),
        (
            "expectation",
            PoolKey {
                expect: [Expected::IpSan].into(),
                ..own()
            },
        ),
        ("generation", key(1, 2)),
    ] {
        let (tunnel, _far) = tunnel().await;
        pool.put(own(), tunnel);
        assert!(pool.take(&other).is_none(), "another {what}");
        assert!(pool.take(&own()).is_some());
    }
}

#[tokio::test]
async fn one_too_many_pushes_out_the_oldest() {
    let pool = pool(2, 3);
    let mut far = Vec::new();
    for port in [1, 1, 1, 2, 2] {
        let (tunnel, end) = tunnel().await;
        far.push(end);
        pool.put(key(port, 0), tunnel);
    }
    let idle: Vec<_> = pool
        .idle()
        .iter()
        .map(|idle| (idle.peer.port(), idle.tunnels))
        .collect();
    assert_eq!(idle, [(1, 1), (2, 2)]);
    drain(&mut far[0]).await.1.unwrap();
    drain(&mut far[1]).await.1.unwrap();
}

#[tokio::test]
async fn a_tunnel_that_its_server_closed_or_wrote_to_is_not_taken() {
    let pool = pool(4, 4);
    for close in [true, false] {
        let (tunnel, mut far) = tunnel().await;
        pool.put(key(1, 0), tunnel);
        if close {
            far.shutdown().await.unwrap();
        } else {
            far.write_all(&[6, 0, 0, 4, 0, 0, 0, 0]).await.unwrap();
        }
        until(|| {
            pool.sweep();
            pool.idle().is_empty()
        })
        .await;
        assert!(pool.take(&key(1, 0)).is_none());
    }
}

#[tokio::test]
async fn an_expired_tunnel_and_one_idle_for_too_long_are_not_taken() {
    let pool = pool(4, 4);
    let (old, _far) = tunnel().await;
    pool.put(key(1, 0), old.expiring(Instant::now()));
    assert!(pool.take(&key(1, 0)).is_none());
    let hasty = Pool::new(Limits {
        per_key: 1,
        total: 1,
        idle: Duration::ZERO,
    });
    let (idle, _far) = tunnel().await;
    hasty.put(key(1, 0), idle);
    hasty.sweep();
    assert!(hasty.idle().is_empty());
}

#[tokio::test]
async fn an_older_generation_goes_and_does_not_come_back() {
    let pool = pool(4, 4);
    let (old, mut far) = tunnel().await;
    let (leased, _far) = tunnel().await;
    pool.put(key(1, 1), old);
    pool.retain_generation(2);
    drain(&mut far).await.1.unwrap();
    pool.put(key(1, 1), leased);
    assert!(pool.idle().is_empty());
}

#[tokio::test]
async fn many_tunnels_are_looked_at_in_one_go() {
    // A task may do 128 reads before tokio makes them wait: a dead one must show behind them.
    let pool = pool(300, 300);
    let mut far = Vec::new();
    for _ in 0..200 {
        let (tunnel, end) = tunnel().await;
        far.push(end);
        pool.put(key(1, 0), tunnel);
    }
    far.truncate(150);
    until(|| {
        pool.sweep();
        pool.idle().iter().map(|idle| idle.tunnels).sum::<usize>() == 150
    })
    .await;
}
