//! How it is found out which upstreams answer.

use super::*;

fn front(world: &World, upstream: &str) -> Setup {
    Setup::new(world, &world.b).with(format!(
        r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
{upstream}
[[listener]]
name = "front"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
"#
    ))
}

fn is_up(daemon: &Daemon) -> bool {
    daemon.ask("status")["upstreams"][0]["endpoints"][0]["up"] == true
}

/// How often its log says so.
fn says(daemon: &mut Daemon, text: &str) -> usize {
    daemon
        .log()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_upstream_that_answers_checks_with_an_error_is_down_until_it_does_not() {
    let world = World::pair();
    // It is asked to be ill, and to be well.
    let body = format!(
        "frontend app\n    bind 127.0.0.1:{APP}\n    \
         http-request set-var(proc.ill) bool(true) if {{ path /ill }}\n    \
         http-request unset-var(proc.ill) if {{ path /well }}\n    \
         http-request return status 500 if {{ path /healthz }} {{ var(proc.ill) -m bool }}\n    \
         http-request return status 200 content-type text/plain string \"the page\"\n"
    );
    let _app = haproxy(&world.b, &body, APP);
    let health = "health = { check = \"http\", path = \"/healthz\", interval = \"100ms\" }";
    let mut daemon = front(&world, health).start();
    let tell = |path: &str| {
        let url = format!("http://{}{path}", local(APP));
        let words = ["--silent", "--show-error", "--max-time", "20", &url];
        world.b.run("curl", &words).expect_code(0);
    };
    let ask = || curl(&world.a, world.b.at(FAR), &[]);
    assert!(ask().expect_code(0).stdout.contains("the page"));
    tell("/ill");
    let line = daemon.wait_log("is down");
    assert!(line.contains("500") && line.contains("likely"), "{line}");
    assert!(!is_up(&daemon));
    // It would answer, and is not asked.
    assert_ne!(ask().code(), 0);
    let record = daemon.wait_records(2).pop().unwrap();
    assert_eq!(record.reason(), "upstream-down", "{record}");
    assert_eq!(record.upstream(), "", "{record}");
    tell("/well");
    daemon.wait_log("up again");
    assert!(ask().expect_code(0).stdout.contains("the page"));
    assert_eq!(
        says(&mut daemon, "is down"),
        1,
        "once, whatever checks said"
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn checks_find_out_before_any_client_whether_an_upstream_is_there_in_whatever_order_they_start() {
    let world = World::pair();
    let health = "health = { check = \"connect\", interval = \"100ms\", up = 2 }";
    let mut daemon = front(&world, health).start();
    let line = daemon.wait_log("is down");
    assert!(line.contains("nothing listens there"), "{line}");
    let connect = format!("connect={}", world.b.at(FAR));
    expect_reset(&world, world.b.at(FAR));
    assert_eq!(daemon.only_record().reason(), "upstream-down");
    for round in 1..=2 {
        let mut app = world.b.serve(&[local(APP)], &[]);
        holds("it is noticed that it is there", || is_up(&daemon));
        world.a.script(&[&connect, "send=welcome", "line"]).all_ok();
        holds("it came", || app.words().contains(&"welcome".to_owned()));
        app.stop();
        holds("it is noticed that it is gone", || !is_up(&daemon));
        assert_eq!(says(&mut daemon, "up again"), round);
        assert_eq!(says(&mut daemon, "is down"), round + 1);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn without_checks_so_many_connections_in_a_row_must_fail_as_the_upstream_says() {
    let world = World::pair();
    let mut daemon = front(&world, "retries = 0\nhealth = { down = 3 }").start();
    let connect = format!("connect={}", world.b.at(FAR));
    let fail = |count: usize| {
        for _ in 0..count {
            world.a.script(&[&connect, "send=hello", "rest"]);
        }
    };
    fail(2);
    daemon.wait_records(2);
    assert!(is_up(&daemon));
    {
        // One that succeeds, and it begins anew.
        let _app = world.b.serve(&[local(APP)], &[]);
        world.a.script(&[&connect, "send=hello", "line"]).all_ok();
    }
    fail(2);
    daemon.wait_records(5);
    assert!(is_up(&daemon));
    assert_eq!(says(&mut daemon, "is down"), 0);
    fail(2);
    let reasons: Vec<_> = daemon
        .wait_records(7)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    let refused = "connect-refused";
    let all = [
        refused,
        refused,
        "",
        refused,
        refused,
        refused,
        "upstream-down",
    ];
    assert_eq!(reasons, all);
    assert_eq!(says(&mut daemon, "is down"), 1);
}
