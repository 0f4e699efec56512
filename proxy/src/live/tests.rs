use super::*;

fn live() -> Live {
    Live::new(Bounds {
        strangers: 1,
        connections: 2,
        tunnels: 1,
    })
}

fn reason<T>(result: Result<T, Refusal>) -> Reason {
    result.err().unwrap().reason
}

async fn still_waits(task: &tokio::task::JoinHandle<()>) -> bool {
    tokio::task::yield_now().await;
    !task.is_finished()
}

#[tokio::test]
async fn draining_ends_with_the_last_connection() {
    let live = live();
    let (first, second) = (live.enter().unwrap(), live.enter().unwrap());
    assert_eq!(reason(live.enter()), Reason::TooManyConnections);
    live.begin_drain();
    let drained = tokio::spawn({
        let live = live.clone();
        async move { live.connections_ended().await }
    });
    assert!(still_waits(&drained).await);
    drop(first);
    assert!(still_waits(&drained).await);
    drop(second);
    drained.await.unwrap();
}

#[test]
fn a_drain_refuses_leases_but_not_what_was_accepted() {
    let live = live();
    assert!(live.enter_lease().is_ok());
    live.begin_drain();
    assert_eq!(reason(live.enter_lease()), Reason::Draining);
    assert!(live.enter().is_ok());
    assert!(live.arrive().is_ok());
    assert!(live.enter_tunnel().is_ok());
}

#[tokio::test]
async fn a_drain_sees_tunnels_without_a_lease() {
    let live = live();
    let tunnel = live.enter_tunnel().unwrap();
    live.begin_drain();
    live.connections_ended().await;
    let ended = tokio::spawn({
        let live = live.clone();
        async move { live.tunnels_ended().await }
    });
    assert!(still_waits(&ended).await);
    drop(tunnel);
    ended.await.unwrap();
}

#[test]
fn no_kind_takes_the_room_of_another() {
    let live = live();
    let _stranger = live.arrive().unwrap();
    assert_eq!(reason(live.arrive()), Reason::TooManyHandshakes);
    let _tunnel = live.enter_tunnel().unwrap();
    assert_eq!(reason(live.enter_tunnel()), Reason::TooManyConnections);
    assert!(live.enter().is_ok());
}

#[test]
fn a_place_that_was_given_back_is_free() {
    let live = live();
    drop(live.arrive().unwrap());
    drop(live.enter_tunnel().unwrap());
    assert!(live.arrive().is_ok());
    assert!(live.enter_tunnel().is_ok());
    assert_eq!(live.count(), 0);
}

#[tokio::test]
async fn a_cut_reaches_everybody() {
    let live = live();
    let place = live.enter().unwrap();
    let mut deadline = place.deadline();
    live.cut();
    assert_eq!(deadline.passed().await.reason, Reason::DrainDeadline);
}
