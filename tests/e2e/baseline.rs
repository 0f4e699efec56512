//! The hosts themselves, without Sidetrack: what fails here is the machine's fault.

use harness::{Capture, Flaw, World, bpf, webserver};

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn two_hosts_reach_each_other_over_both_families_and_see_true_addresses() {
    let world = World::pair();
    let (v4, v6) = (world.b.at(7000), world.b.at6(7000));
    let server = world.b.serve(&[v4, v6], &[]);
    let connect = |to| {
        world
            .a
            .script(&[&format!("connect={to}"), "names", "send=hello", "line"])
    };
    let answers = [
        connect(v4).all_ok().answer(0),
        connect(v6).all_ok().answer(0),
    ];
    assert!(
        answers[0]["accept"]
            .as_str()
            .unwrap()
            .starts_with("10.88.0.1:")
    );
    assert!(
        answers[1]["accept"]
            .as_str()
            .unwrap()
            .starts_with("[fd88::1]:")
    );
    assert_eq!(server.accepted().len(), 2);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_capture_shows_plain_text_and_a_closed_port_refuses() {
    let world = World::pair();
    let capture = Capture::start(&world.a);
    let server = world.b.serve(&[world.b.at(7000)], &[]);
    let connect = format!("connect={}", world.b.at(7000));
    world
        .a
        .script(&[&connect, "send=baseline-secret", "line"])
        .all_ok();
    assert!(capture.stop().contains("baseline-secret"));
    server.stop();
    assert_eq!(
        world.a.script(&[&connect]).of(&connect),
        Err("ECONNREFUSED".to_owned())
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn haproxy_and_nginx_speak_mutual_tls_with_each_other_with_these_certificates() {
    let world = World::pair();
    let (a, b) = (
        world.pki.credential('a', Flaw::None),
        world.pki.credential('b', Flaw::None),
    );
    let tls = webserver::haproxy_tls(&a, &world.pki);
    let body = format!(
        "frontend f\n    bind 127.0.0.1:8080\n    default_backend b\nbackend b\n    server b {} {tls}\n",
        world.b.at(7000)
    );
    let page = webserver::nginx_tls_page(&b, &world.pki, 7000);
    let _server = webserver::nginx(&world.b, &page, 7000);
    let _client = webserver::haproxy(&world.a, &body, 8080);
    let page = webserver::curl(&world.a, ([127, 0, 0, 1], 8080).into(), &[]).expect_code(0);
    assert!(page.stdout.contains("a.example.org"), "{page}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn openssl_peers_work_with_a_good_certificate_and_nothing_is_attached_to_a_new_cgroup() {
    let world = World::pair();
    let (a, b) = (
        world.pki.credential('a', Flaw::None),
        world.pki.credential('b', Flaw::None),
    );
    let bundle = world.pki.bundle().display().to_string();
    let mut server = world
        .b
        .openssl_server(7000, &b, &["-CAfile", &bundle, "-Verify", "1"]);
    let more = ["-CAfile", &bundle, "-verify_return_error"];
    let client = world
        .a
        .openssl_client_until(world.b.at(7000), Some(&a), &more, "a line", || {
            server.line("the line", |line| (line == "a line").then_some(()));
        });
    assert!(
        client.stderr.is_empty() || client.stderr.contains("depth=0"),
        "{client}"
    );
    assert_eq!(bpf::attached_to(world.a.apps().path()), Vec::<&str>::new());
}
