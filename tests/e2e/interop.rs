//! Plain mutual TLS with servers and clients that are no sidetrack, as Debian ships them.

use harness::{
    Capture, Daemon, Flaw, World,
    daemon::Setup,
    rules,
    webserver::{curl, haproxy, haproxy_tls, nginx, nginx_tls_page},
};

/// Where the TLS clients of these tests take plain HTTP from curl.
const NEAR: u16 = 8080;

fn outbound(world: &World, expect: &str) -> Daemon {
    Setup::new(world, &world.a)
        .with(rules::outbound_mtls("tls", expect))
        .start()
}

fn inbound(world: &World) -> Daemon {
    Setup::new(world, &world.b)
        .with(rules::inbound(r#"["mtls"]"#, "spiffe://example.org/a"))
        .start()
}

/// curl on `a` asks `b` itself, twice on one daemon, and nothing of it is readable on the wire.
#[track_caller]
fn fetches_over_tls(world: &World, daemon: &Daemon, page: &str) {
    let capture = Capture::start(&world.a);
    let header = ["--header", "X-Secret: interop-secret"];
    for count in 1..=2 {
        let got = curl(&world.a, world.b.at(7000), &header).expect_code(0);
        assert!(got.stdout.contains(page), "{got}");
        let record = daemon.wait_records(count)[count - 1].clone();
        assert_eq!(record.carriage(), "tls", "{record}");
        assert_eq!(record.tls_version(), "TLSv1.3", "{record}");
        assert_eq!(record.peer_identity(), "spiffe://example.org/b", "{record}");
        assert_eq!(record.reason(), "", "{record}");
    }
    capture.stop().expect_encrypted("interop-secret");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn curl_reaches_an_nginx_that_requires_client_certificates() {
    let world = World::pair();
    let b = world.pki.credential('b', Flaw::None);
    let _server = nginx(&world.b, &nginx_tls_page(&b, &world.pki, 7000), 7000);
    let daemon = outbound(&world, "spiffe://example.org/b");
    fetches_over_tls(
        &world,
        &daemon,
        "client CN=a.example.org over TLSv1.3 from 10.88.0.1",
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn curl_reaches_an_haproxy_that_requires_client_certificates() {
    let world = World::pair();
    let b = world.pki.credential('b', Flaw::None);
    let tls = haproxy_tls(&b, &world.pki);
    let page = format!(
        "frontend f\n    bind :7000 {tls}\n    http-request return status 200 content-type text/plain \
         lf-string \"client %[ssl_c_s_dn(cn)] over %[ssl_fc_protocol] from %[src]\"\n"
    );
    let _server = haproxy(&world.b, &page, 7000);
    for expect in ["spiffe://example.org/b", "b.example.org", "ip-san"] {
        let daemon = outbound(&world, expect);
        fetches_over_tls(
            &world,
            &daemon,
            "client a.example.org over TLSv1.3 from 10.88.0.1",
        );
    }
}

/// For each of three connections, one after another, whether its session was resumed, and the group.
fn handshakes(keys: &str) -> Vec<(bool, String)> {
    let world = World::pair();
    let b = world.pki.credential('b', Flaw::None);
    let tls = haproxy_tls(&b, &world.pki);
    let page = format!("frontend f\n    bind :7000 {tls}\n    http-request return status 200\n");
    let _server = haproxy(&world.b, &page, 7000);
    let rule = rules::outbound_mtls("tls", "spiffe://example.org/b") + keys;
    let daemon = Setup::new(&world, &world.a).with(rule).start();
    for _ in 0..3 {
        curl(&world.a, world.b.at(7000), &[]).expect_code(0);
    }
    let records = daemon.wait_records(3);
    let seen = records
        .iter()
        .map(|record| (record.is_resumed(), record.tls_group().to_owned()));
    seen.collect()
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_rule_without_resumption_has_full_handshakes_of_the_group_that_it_names() {
    let resumed = |seen: &[(bool, String)]| -> Vec<bool> {
        seen.iter().map(|(resumed, _)| *resumed).collect()
    };
    let usual = handshakes("");
    assert!(resumed(&usual).contains(&true), "the test's own proof");
    let full = handshakes("resumption = false\ngroups = [\"secp384r1\"]\n");
    assert_eq!(resumed(&full), [false; 3]);
    assert!(
        full.iter().all(|(_, group)| group == "secp384r1"),
        "{full:?}"
    );
}

/// curl on `a` asks the TLS client beside it, which asks `b`, whose application is plain NGINX.
#[track_caller]
fn is_let_in(world: &World, daemon: &Daemon, client: harness::Running) {
    let page =
        "    server { listen 7000; return 200 \"page for $remote_addr at $server_addr\\n\"; }";
    let _app = nginx(&world.b, page, 7000);
    let got = curl(&world.a, ([127, 0, 0, 1], NEAR).into(), &[]).expect_code(0);
    assert!(
        got.stdout.contains("page for 10.88.0.1 at 10.88.0.2"),
        "{got}\nthe TLS client said: {}",
        client.said()
    );
    // The client may keep its connection for the next request; it is recorded at its end.
    drop(client);
    let record = daemon.only_record();
    assert_eq!(record.carriage(), "tls", "{record}");
    assert_eq!(record.tls_version(), "TLSv1.3", "{record}");
    assert_eq!(record.peer_identity(), "spiffe://example.org/a", "{record}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_haproxy_with_a_client_certificate_is_let_in() {
    let world = World::pair();
    let daemon = inbound(&world);
    let a = world.pki.credential('a', Flaw::None);
    let tls = haproxy_tls(&a, &world.pki);
    let body = format!(
        "frontend f\n    bind 127.0.0.1:{NEAR}\n    default_backend b\nbackend b\n    \
         server b {} {tls} verifyhost b.example.org sni str(b.example.org)\n",
        world.b.at(7000)
    );
    let client = haproxy(&world.a, &body, NEAR);
    is_let_in(&world, &daemon, client);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_nginx_with_a_client_certificate_is_let_in() {
    let world = World::pair();
    let daemon = inbound(&world);
    let a = world.pki.credential('a', Flaw::None);
    let body = format!(
        "    server {{
        listen 127.0.0.1:{NEAR};
        location / {{
            proxy_pass https://{to};
            proxy_ssl_certificate {certificate};
            proxy_ssl_certificate_key {key};
            proxy_ssl_trusted_certificate {bundle};
            proxy_ssl_verify on;
            proxy_ssl_name b.example.org;
            proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.3;
        }}
    }}",
        to = world.b.at(7000),
        certificate = a.certificate.display(),
        key = a.key.display(),
        bundle = world.pki.bundle().display(),
    );
    let client = nginx(&world.a, &body, NEAR);
    is_let_in(&world, &daemon, client);
}
