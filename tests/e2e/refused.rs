//! Each refusal: its reason in the one record, an alert or a reset at the client, and not one
//! byte of plain text on the wire or at the application.

use harness::{
    Capture, Credential, Flaw, World,
    daemon::{Daemon, Setup},
    rules,
};

const SECRET: &str = "refused-secret";

/// The daemon of `b` guards an application; who comes from `a` is no sidetrack.
struct Guarded {
    daemon: Daemon,
    server: harness::peer::Server,
    capture: Capture,
    world: World,
}

impl Guarded {
    fn new() -> Self {
        let world = World::pair();
        let daemon = Setup::new(&world, &world.b)
            .with(rules::inbound(
                r#"["tunnel", "mtls"]"#,
                "spiffe://example.org/a",
            ))
            .start();
        Self {
            server: world.b.serve(&[world.b.at(7000)], &[]),
            capture: Capture::start(&world.a),
            daemon,
            world,
        }
    }

    #[track_caller]
    fn refuses_openssl(self, credential: Option<&Credential>, more: &[&str], reason: &str) {
        let to = self.world.b.at(7000);
        let client = self.world.a.openssl_client(to, credential, more, SECRET);
        let said = client.stderr.to_lowercase();
        assert!(
            ["alert", "errno=104", "reset", "errno=32"]
                .iter()
                .any(|word| said.contains(word)),
            "the client saw neither an alert nor a reset: {client}"
        );
        self.ends_recorded(reason);
    }

    #[track_caller]
    fn ends_recorded(self, reason: &str) {
        let record = self.daemon.only_record();
        assert_eq!(record.reason(), reason, "{record}");
        assert_eq!(record.direction(), "inbound");
        assert_eq!(record.destination(), self.world.b.at(7000).to_string());
        assert!(record.source().starts_with("10.88.0.1:"), "{record}");
        assert_eq!(
            self.server.accepted(),
            Vec::<serde_json::Value>::new(),
            "the application"
        );
        self.capture.stop().expect_no_plaintext(SECRET);
        assert_eq!(self.daemon.records().len(), 1, "one record, no more");
        let counted = &self.daemon.ask("status")["refused"];
        assert_eq!(
            counted,
            &serde_json::json!({ reason: 1 }),
            "one count, no more"
        );
    }

    #[track_caller]
    fn refuses_flaw(flaw: Flaw, reason: &str) {
        let guarded = Self::new();
        let credential = guarded.world.pki.credential('a', flaw);
        guarded.refuses_openssl(Some(&credential), &[], reason);
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_deny_rule_fails_connect_with_the_errno_that_it_names_over_both_families() {
    let world = World::pair();
    let errnos = [
        (6100, "EPERM"),
        (6101, "EACCES"),
        (6102, "ECONNREFUSED"),
        (6103, "EHOSTUNREACH"),
        (6104, "ENETUNREACH"),
        (6105, "ETIMEDOUT"),
    ];
    let rules = errnos.map(|(port, errno)| {
        format!(
            "[[outbound]]\nname = \"{errno}\"\nto = [\"10.88.0.0/24\", \"fd88::/64\"]\n\
             ports = [{port}]\naction = \"deny\"\nerrno = \"{errno}\"\n"
        )
    });
    let _daemon = Setup::new(&world, &world.a).with(rules.concat()).start();
    // Somebody listens: what refuses is the rule.
    let at = |port| [world.b.at(port), world.b.at6(port)];
    let ports: Vec<_> = errnos.into_iter().flat_map(|(port, _)| at(port)).collect();
    let server = world.b.serve(&ports, &[]);
    for (port, errno) in errnos {
        let [v4, v6] = at(port);
        for (socket, to) in [("tcp4", v4), ("tcp6", v6), ("tcp6", v4)] {
            let connect = format!("connect={to}");
            let steps = world.a.script(&[socket, &connect]);
            assert_eq!(steps.of(&connect), Err(errno.to_owned()), "{socket} {to}");
        }
    }
    assert!(server.accepted().is_empty());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_of_the_wrong_ca_is_refused() {
    Guarded::refuses_flaw(Flaw::WrongCa, "unknown-issuer");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_whose_certificate_expired_is_refused() {
    Guarded::refuses_flaw(Flaw::Expired, "certificate-expired");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_whose_certificate_is_not_yet_valid_is_refused() {
    Guarded::refuses_flaw(Flaw::NotYetValid, "certificate-not-yet-valid");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_of_an_identity_that_is_not_allowed_is_refused() {
    Guarded::refuses_flaw(Flaw::WrongIdentity, "not-allowed");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_of_another_trust_domain_signed_by_this_ones_ca_is_refused() {
    Guarded::refuses_flaw(Flaw::OtherDomain, "unknown-issuer");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_without_a_certificate_is_refused() {
    Guarded::new().refuses_openssl(None, &[], "no-certificate");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_of_tls_1_2_is_refused() {
    let guarded = Guarded::new();
    let credential = guarded.world.pki.credential('a', Flaw::None);
    guarded.refuses_openssl(Some(&credential), &["-tls1_2"], "tls-version");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_plaintext_client_is_refused_and_its_bytes_reach_no_application() {
    let guarded = Guarded::new();
    let connect = format!("connect={}", guarded.world.b.at(7000));
    // This client itself puts plain text on the wire; no answer to it may be there.
    let steps = guarded
        .world
        .a
        .script(&[&connect, "send=hello in plain text", "rest"]);
    let rest = steps.of("rest").unwrap_or_default();
    let text = rest.as_str().unwrap_or_default();
    assert!(
        !text.contains("getsockname"),
        "the application answered: {text}"
    );
    let reset = steps.of("rest").is_err() || steps.of("send=hello in plain text").is_err();
    assert!(
        reset || !text.is_empty(),
        "neither an alert nor a reset: {steps:?}"
    );
    guarded.ends_recorded("plaintext");
}

/// The daemon of `a` connects for an application; who serves at `b` is no sidetrack.
#[track_caller]
fn refuses_server(world: &World, reasons: &[&str]) {
    let daemon = Setup::new(world, &world.a)
        .with(rules::outbound_mtls("tls", "spiffe://example.org/b"))
        .start();
    let capture = Capture::start(&world.a);
    let connect = format!("connect={}", world.b.at(7000));
    let steps = world
        .a
        .script(&[&connect, &format!("send={SECRET}"), "rest"]);
    let failed = [&connect, &format!("send={SECRET}"), "rest"]
        .into_iter()
        .find_map(|step| steps.of(step).err());
    assert!(
        matches!(failed.as_deref(), Some("ECONNRESET" | "EPIPE")),
        "the client did not see a reset: {steps:?}"
    );
    let record = daemon.only_record();
    assert!(
        reasons.contains(&record.reason()),
        "{record}: expected one of {reasons:?}"
    );
    assert_eq!(record.direction(), "outbound");
    assert_eq!(record.destination(), world.b.at(7000).to_string());
    assert_eq!(record.bytes_down(), 0, "{record}");
    capture.stop().expect_no_plaintext(SECRET);
    assert_eq!(daemon.records().len(), 1, "one record, no more");
}

#[track_caller]
fn refuses_openssl_server(flaw: Flaw, more: &[&str], reason: &str) {
    let world = World::pair();
    let credential = world.pki.credential('b', flaw);
    let server = world.b.openssl_server(7000, &credential, more);
    refuses_server(&world, &[reason]);
    assert!(
        !server.said().contains(SECRET),
        "the server got the bytes: {}",
        server.said()
    );
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_of_the_wrong_ca_is_refused() {
    refuses_openssl_server(Flaw::WrongCa, &[], "unknown-issuer");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_whose_certificate_expired_is_refused() {
    refuses_openssl_server(Flaw::Expired, &[], "certificate-expired");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_whose_certificate_is_not_yet_valid_is_refused() {
    refuses_openssl_server(Flaw::NotYetValid, &[], "certificate-not-yet-valid");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_of_an_identity_that_is_not_expected_is_refused() {
    refuses_openssl_server(Flaw::WrongIdentity, &[], "wrong-identity");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_of_another_trust_domain_signed_by_this_ones_ca_is_refused() {
    refuses_openssl_server(Flaw::OtherDomain, &[], "unknown-issuer");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_server_of_tls_1_2_is_refused() {
    refuses_openssl_server(Flaw::None, &["-tls1_2"], "tls-version");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_plaintext_server_is_refused_and_gets_no_byte_of_the_application() {
    let world = World::pair();
    let server = world.b.serve(&[world.b.at(7000)], &["--mode", "greet"]);
    refuses_server(&world, &["plaintext", "handshake-failed"]);
    let heard = format!("{:?}", server.events("ended"));
    assert!(!heard.contains(SECRET), "{heard}");
}
