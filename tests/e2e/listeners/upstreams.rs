//! Whom listeners connect to: who that has to prove to be, and what it is told.

use harness::{
    Flaw, World,
    daemon::Setup,
    webserver::{curl, haproxy, haproxy_tls},
};

use super::{APP, FAR, NEAR, local, near, near_with};

/// An HAProxy that ends TLS as `flaw` has it, and answers requests with `text`.
fn server(world: &World, flaw: Flaw, text: &str) -> harness::Running {
    let body = format!(
        "frontend f\n    bind :{FAR} {}\n    http-request return status 200 content-type text/plain \
         lf-string \"{text}\"\n",
        haproxy_tls(&world.pki.credential('b', flaw), &world.pki)
    );
    haproxy(&world.b, &body, FAR)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_that_is_not_whom_its_upstream_expects_gets_nothing_of_the_client() {
    for (flaw, reason) in [
        (Flaw::WrongCa, "unknown-issuer"),
        (Flaw::Expired, "certificate-expired"),
        (Flaw::WrongIdentity, "wrong-identity"),
    ] {
        let world = World::pair();
        let theirs = server(&world, flaw, "the page");
        let ours = near(&world).start();
        let got = curl(&world.a, local(NEAR), &[]);
        assert!(!got.stdout.contains("the page"), "{got}");
        let record = ours.only_record();
        assert_eq!(record.reason(), reason, "{record}");
        assert!(!theirs.said().contains("GET /"), "{}", theirs.said());
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn the_server_name_that_is_sent_need_not_be_the_one_that_is_expected() {
    for (written, sent) in [
        ("server_name = \"front.example.org\"", "front.example.org"),
        ("", "b.example.org"),
    ] {
        let world = World::pair();
        let _theirs = server(&world, Flaw::None, "asked for %[ssl_fc_sni]");
        let ours = near_with(&world, written).start();
        let got = curl(&world.a, local(NEAR), &[]).expect_code(0);
        assert!(got.stdout.contains(&format!("asked for {sent}")), "{got}");
        let server = ours.only_record();
        assert_eq!(server.peer_identity(), "spiffe://example.org/b");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn an_haproxy_takes_who_the_client_is_from_each_proxy_header_that_is_sent() {
    for kind in ["v1", "v2", "v2-tls"] {
        let world = World::pair();
        let body = format!(
            "frontend app\n    bind 127.0.0.1:{APP} accept-proxy\n    http-request return status 200 \
             content-type text/plain lf-string \"from %[src]\"\n"
        );
        let _app = haproxy(&world.b, &body, APP);
        let _ours = Setup::new(&world, &world.b)
            .with(format!(
                r#"
[upstream.app]
addresses = ["127.0.0.1:{APP}"]
send_proxy = "{kind}"
[[listener]]
name = "far"
bind = "0.0.0.0:{FAR}"
mode = "tcp"
upstream = "app"
tls = {{ mode = "mutual", identities = ["own"], allow = ["a.example.org"] }}
"#
            ))
            .start();
        let client = world.pki.credential('a', Flaw::None);
        let url = format!("https://{}/", world.b.at(FAR));
        let (certificate, key) = (
            client.certificate.display().to_string(),
            client.key.display().to_string(),
        );
        let shown = ["--insecure", "--cert", &certificate, "--key", &key];
        let got = world.a.fetch(&url, &shown);
        let from = format!("from {}", world.a.at(0).ip());
        assert!(got.text().contains(&from), "by {kind}: {}", got.0);
    }
}
