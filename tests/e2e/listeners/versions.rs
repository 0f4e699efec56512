//! Which versions of TLS clients of a listener may speak.

use harness::process::Finished;

use super::*;

const FROM_1_2: &str = ", min_version = \"1.2\"";

fn page(world: &World) -> harness::Running {
    let body = format!(
        "frontend app\n    bind 127.0.0.1:{APP}\n    http-request return status 200 content-type \
         text/plain lf-string \"the page\"\n"
    );
    haproxy(&world.b, &body, APP)
}

fn fetch(world: &World, more: &[&str]) -> Finished {
    let bundle = world.pki.bundle().display().to_string();
    let at = format!("b.example.org:{FAR}:{}", world.b.v4());
    let url = format!("https://b.example.org:{FAR}/");
    let words = [
        &["--silent", "--show-error", "--max-time", "20"][..],
        &["--resolve", &at, "--cacert", &bundle, &url],
        more,
    ];
    world.a.run("curl", &words.concat())
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_client_of_tls_1_2_is_refused_by_the_alert_unless_the_listener_takes_it_and_1_1_always() {
    let world = World::pair();
    let _page = page(&world);
    {
        let daemon = far_with(&world, "simple", "").start();
        let refused = fetch(&world, &["--tls-max", "1.2"]).expect_code(35);
        assert!(refused.stderr.contains("protocol version"), "{refused}");
        assert_eq!(daemon.only_record().reason(), "tls-version");
    }
    let daemon = far_with(&world, "simple", FROM_1_2).start();
    let mut seen = daemon.records().len();
    for (more, version) in [(&["--tls-max", "1.2"][..], "TLSv1.2"), (&[], "TLSv1.3")] {
        let page = fetch(&world, more).expect_code(0);
        assert_eq!(page.stdout, "the page");
        seen += 1;
        let record = daemon.wait_records(seen).pop().unwrap();
        assert_eq!(record.tls_version(), version, "{record}");
        assert_eq!(record.reason(), "", "{record}");
    }
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let refused = world.a.openssl_client(world.b.at(FAR), None, &old, "hello");
    assert!(refused.stderr.contains("alert"), "{refused}");
    let record = daemon.wait_records(seen + 1).pop().unwrap();
    assert_eq!(record.reason(), "tls-version", "{record}");
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_certificate_counts_in_tls_1_2_as_in_1_3_if_it_is_bound_to_its_connection() {
    let world = World::pair();
    let daemon = far_with(&world, "mutual", FROM_1_2).start();
    let mut app = world.b.serve(&[local(APP)], &[]);
    let to = world.b.at(FAR);
    let v1_2 = ["-tls1_2"];
    let none = world.a.openssl_client(to, None, &v1_2, "hello");
    assert!(none.stderr.contains("certificate required"), "{none}");
    let wrong = world.pki.credential('a', Flaw::WrongCa);
    world.a.openssl_client(to, Some(&wrong), &v1_2, "hello");
    let good = world.pki.credential('a', Flaw::None);
    // Without extended master secret (RFC 7627).
    let unbound = world.a.write(
        "openssl.cnf",
        "openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\nsystem_default = every\n[every]\n\
         Options = -ExtendedMasterSecret\n",
    );
    let mut command = world.a.command("openssl");
    command.env("OPENSSL_CONF", &unbound);
    command.args(["s_client", "-tls1_2", "-quiet", "-connect", &to.to_string()]);
    command.arg("-cert").arg(&good.certificate);
    command.arg("-key").arg(&good.key);
    let refused = harness::Running::spawn(command).finish_within(harness::wait::DEADLINE);
    assert!(refused.stderr.contains("handshake failure"), "{refused}");
    let reasons: Vec<_> = daemon
        .wait_records(3)
        .iter()
        .map(|record| record.reason().to_owned())
        .collect();
    assert_eq!(reasons, ["no-certificate", "unknown-issuer", "tls-version"]);
    // Twice, the second time by the ticket of the first: judged again all the same.
    let session = world.a.dir().join("session").display().to_string();
    let visits = [("-sess_out", "first"), ("-sess_in", "second")];
    for (index, (more, word)) in visits.into_iter().enumerate() {
        let words = ["-tls1_2", more, &session];
        world
            .a
            .openssl_client_until(to, Some(&good), &words, word, || {
                holds("it came", || {
                    app.events("accepted").len() > index
                        && daemon.ask("connections").as_array().unwrap().len() == 1
                });
            });
        let record = daemon.wait_records(4 + index).pop().unwrap();
        assert_eq!(record.tls_version(), "TLSv1.2", "{record}");
        assert_eq!(record.peer_identity(), "spiffe://example.org/a", "{record}");
        assert_eq!(record.is_resumed(), index == 1, "{record}");
    }
    assert_eq!(app.words(), ["first", "second"]);
}
