//! Who must show a certificate, and what becomes of who does not.

use super::*;

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn where_a_certificate_is_optional_a_wrong_one_is_refused_and_none_or_a_good_one_is_served() {
    let world = World::pair();
    let daemon = far(&world, "optional").start();
    let mut app = world.b.serve(&[local(APP)], &[]);
    let to = world.b.at(FAR);
    let cases = [
        (Flaw::WrongCa, "unknown-issuer"),
        (Flaw::Expired, "certificate-expired"),
        (Flaw::WrongIdentity, "not-allowed"),
    ];
    for (index, (flaw, reason)) in cases.into_iter().enumerate() {
        let wrong = world.pki.credential('a', flaw);
        let said = world.a.openssl_client(to, Some(&wrong), &[], "wrong");
        assert!(said.stderr.contains("alert"), "{flaw:?}: {said}");
        let record = daemon.wait_records(index + 1).pop().unwrap();
        assert_eq!(record.reason(), reason, "{record}");
    }
    let good = world.pki.credential('a', Flaw::None);
    let shown = [
        (None, "nobody", ""),
        (Some(&good), "somebody", "spiffe://example.org/a"),
    ];
    for (index, (credential, word, identity)) in shown.into_iter().enumerate() {
        world.a.openssl_client_until(to, credential, &[], word, || {
            holds("it came", || app.words().len() == index + 1);
        });
        let record = daemon.wait_records(index + 4).pop().unwrap();
        assert_eq!(record.peer_identity(), identity, "{record}");
        assert_eq!(record.reason(), "", "{record}");
    }
    assert_eq!(app.words(), ["nobody", "somebody"]);
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn curl_shows_that_a_certificate_is_required() {
    let world = World::pair();
    let daemon = far(&world, "mutual").start();
    let app = world.b.serve(&[local(APP)], &[]);
    let bundle = world.pki.bundle().display().to_string();
    let at = format!("b.example.org:{FAR}:{}", world.b.v4());
    let url = format!("https://b.example.org:{FAR}/");
    let words = [
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--resolve",
        &at,
    ];
    let more = ["--cacert", &bundle, &url];
    let said = world.a.run("curl", &[&words[..], &more].concat());
    assert_eq!(said.code(), 56, "{said}");
    assert!(said.stderr.contains("alert certificate required"), "{said}");
    assert_eq!(daemon.only_record().reason(), "no-certificate");
    assert!(app.accepted().is_empty());
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn connections_of_each_mode_live_through_all_modes_that_come_after() {
    let world = World::pair();
    let mut daemon = far(&world, "simple").start();
    let _app = world.b.serve(&[local(APP)], &[]);
    let to = world.b.at(FAR);
    let good = world.pki.credential('a', Flaw::None);
    let begin = |credential, word: &str| {
        let mut open = world.a.start_openssl_client(to, credential, &[], word);
        open.line("the answer", |line| line.contains(word).then_some(()));
        open
    };
    let mut open = vec![begin(None, "simple")];
    let allow = ", allow = [\"a.example.org\"]";
    let simple = "mode = \"simple\", identities = [\"own\"]";
    let optional = format!("mode = \"optional\", identities = [\"own\"]{allow}");
    reload(&mut daemon, 1, simple, &optional);
    open.push(begin(None, "optional-none"));
    open.push(begin(Some(&good), "optional-good"));
    reload(&mut daemon, 2, "mode = \"optional\"", "mode = \"mutual\"");
    open.push(begin(Some(&good), "mutual"));
    let mutual = optional.replace("optional", "mutual");
    reload(&mut daemon, 3, &mutual, simple);
    open.push(begin(None, "simple-again"));
    for (index, open) in open.iter_mut().enumerate() {
        let word = format!("alive-{index}");
        open.tell(&word);
        open.line("the answer", |line| line.contains(&word).then_some(()));
    }
    assert!(daemon.records().is_empty(), "none has ended");
}
