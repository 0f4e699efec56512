//! Certificates of peers that a reload judges otherwise, while connections live that they made.

use std::time::{Duration, Instant};

use harness::{Credential, Flaw, SHORT_LIFE, holds};

use super::*;

/// A live connection, and the certificate that `of` shows in it.
#[track_caller]
fn by(of: char, a: &str) -> (Alive, Credential) {
    let world = World::pair();
    let (a, b) = (setup(&world, 'a', a), setup(&world, 'b', &strict()));
    let credential = world.pki.credential(of, Flaw::None);
    let (a, b) = match of {
        'a' => (a.credential(credential.clone()), b),
        _ => (a, b.credential(credential.clone())),
    };
    (Alive::on(world, a, b), credential)
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_of_a_client_that_a_reload_finds_revoked_is_closed_with_that_reason() {
    for rules in [mtls(), tls()] {
        let (alive, of_a) = by('a', &rules);
        let list = alive.world.pki.revoke(&[of_a]);
        let after = setup(&alive.world, 'b', &strict()).crl(list);
        alive
            .then_by('b', &after)
            .expect_closed('b', "certificate-revoked");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_to_a_server_that_a_reload_finds_revoked_is_closed_with_that_reason() {
    for rules in [mtls(), tls()] {
        let (alive, of_b) = by('b', &rules);
        let list = alive.world.pki.revoke(&[of_b]);
        let after = setup(&alive.world, 'a', &rules).crl(list);
        alive
            .then_by('a', &after)
            .expect_closed('a', "certificate-revoked");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_goes_on_when_a_reload_finds_others_revoked() {
    for (letter, rules) in [('a', mtls()), ('b', strict())] {
        let alive = Alive::by(&mtls(), &strict());
        let somebody_elses = alive.world.pki.credential('a', Flaw::WrongIdentity);
        let list = alive.world.pki.revoke(&[somebody_elses]);
        let after = setup(&alive.world, letter, &rules).crl(list);
        alive.then_by(letter, &after).goes_on();
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_of_a_peer_whose_authority_a_reload_removes_is_closed_with_that_reason() {
    for (letter, rules) in [('a', mtls()), ('b', strict())] {
        let alive = Alive::by(&mtls(), &strict());
        let another = alive.world.pki.other_bundle();
        let after = setup(&alive.world, letter, &rules).bundle(another);
        alive
            .then_by(letter, &after)
            .expect_closed(letter, "unknown-issuer");
    }
}

#[test]
#[ignore = "privileged: run by cargo xtask test"]
fn a_connection_whose_certificates_have_expired_goes_on_through_a_reload_of_either_end() {
    let world = World::pair();
    let issued = Instant::now();
    let short = |letter, toml: &str| {
        let credential = world.pki.credential(letter, Flaw::ShortLived);
        setup(&world, letter, toml).credential(credential)
    };
    let (a, b) = (short('a', &mtls()), short('b', &strict()));
    let alive = Alive::on(world, a, b);
    assert!(issued.elapsed() < SHORT_LIFE, "it was alive before");
    // Certificates count whole seconds.
    let expired = SHORT_LIFE + Duration::from_secs(1);
    holds("the certificates have expired", || {
        issued.elapsed() > expired
    });
    alive.then('a', &mtls()).then('b', &strict()).goes_on();
}
