//! Daemons that are there and show no sign of life.

use harness::holds;

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_of_a_daemon_that_is_stopped_says_so_from_the_kernels_maps() {
    let world = World::pair();
    let mut daemon = everything(&world).heartbeat("1s").start();
    daemon.suspend();
    let status = daemon.status();
    let pid = daemon.pid().to_string();
    status.expect_red(&[&pid, "does not answer"]);
    status.expect_red(&["last heartbeat", "take the proxy for dead after 1s"]);
    assert_eq!(status.faults().len(), 2, "{status:?}");
    assert_eq!(status.json["state"], "not answering");
    let apps = world.a.apps().path().display().to_string();
    assert_eq!(status.order("connect4", &apps), ["st_connect4"]);
    daemon.signal(Signal::SIGCONT);
    holds("status is green again", || daemon.status().code == 0);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn status_goes_red_when_the_heartbeat_is_old_and_green_with_the_next_one() {
    let world = World::pair();
    // One beat each five seconds: long enough for a status in between.
    let mut daemon = everything(&world).heartbeat("30s").start();
    let heartbeat = bpf::map_of(daemon.pid(), "HEARTBEAT");
    holds("a status falls between two heartbeats", || {
        heartbeat.set_first(1);
        let status = daemon.status();
        if status.code == 0 {
            return false;
        }
        status.expect_red(&["last heartbeat", "take the proxy for dead after 30s"]);
        true
    });
    holds("status is green again", || daemon.status().code == 0);
}
