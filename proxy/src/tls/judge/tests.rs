use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};
use webpki::{OwnedCertRevocationList, anchor_from_trusted_cert};

use super::*;
use crate::certs::{
    authority::{Authority, Issued, LeafRequest},
    validity::Validity,
};

const HOUR: i64 = 3600;

fn authority() -> Authority {
    let validity = Validity::offset(-HOUR, 100 * HOUR).unwrap();
    Authority::create("test CA", None, validity).unwrap()
}

fn request(spiffe: &[&str], dns: &[&str]) -> LeafRequest {
    LeafRequest {
        name: "leaf".into(),
        spiffe: spiffe.iter().map(|id| id.parse().unwrap()).collect(),
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        ips: vec!["::ffff:10.0.0.1".parse().unwrap()],
        validity: Validity::offset(-HOUR, HOUR).unwrap(),
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    vec![der(&issued.certificate_pem())]
}

fn bundle(ca: &Authority, crl: Option<String>) -> Bundle {
    let anchor = der(ca.certificate_pem());
    Bundle {
        anchors: vec![anchor_from_trusted_cert(&anchor).unwrap().to_owned()],
        crls: crl
            .map(|pem| {
                let list = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
                OwnedCertRevocationList::from_der(&list).unwrap().into()
            })
            .into_iter()
            .collect(),
    }
}

fn store<const N: usize>(bundles: [(&str, Bundle); N]) -> TrustStore {
    TrustStore::new(
        bundles
            .into_iter()
            .map(|(domain, bundle)| (domain.parse().unwrap(), bundle))
            .collect(),
    )
}

fn reason(trust: &TrustStore, issued: &Issued) -> Reason {
    trust
        .judge(&chain(issued), Role::Client, UnixTime::now())
        .unwrap_err()
        .reason
}

#[test]
fn a_peer_is_good_until_the_first_certificate_of_its_chain_expires() {
    let ca = authority();
    let issued = ca
        .issue(&request(&["spiffe://example.org/a"], &[]))
        .unwrap();
    let trust = store([("example.org", bundle(&ca, None))]);
    let until = |from: i64, until: i64| {
        let between = Authority::create("between", None, Validity::offset(from, until).unwrap());
        let mut chain = chain(&issued);
        chain.push(der(between.unwrap().certificate_pem()));
        let peer = trust.judge(&chain, Role::Server, UnixTime::now()).unwrap();
        let left = peer.not_after.duration_since(SystemTime::now()).unwrap();
        left.as_secs().div_ceil(60)
    };
    assert_eq!(until(-HOUR, HOUR / 2), 30);
    assert_eq!(until(-HOUR, 2 * HOUR), 60, "the leaf's own");
    assert_eq!(
        until(-HOUR, -HOUR / 2),
        60,
        "in no path: it is over already"
    );
}

#[test]
fn a_leaf_names_its_bearer_in_canonical_form() {
    let ca = authority();
    let issued = ca
        .issue(&request(&["spiffe://example.org/a"], &["A.Example.org"]))
        .unwrap();
    let trust = store([("example.org", bundle(&ca, None))]);
    let peer = trust
        .judge(&chain(&issued), Role::Server, UnixTime::now())
        .unwrap();
    assert_eq!(peer.spiffe.unwrap().as_str(), "spiffe://example.org/a");
    assert_eq!(peer.dns, ["a.example.org"]);
    assert_eq!(peer.ips, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(peer.common_name.as_deref(), Some("leaf"));
}

#[test]
fn a_leaf_with_two_spiffe_ids_proves_neither() {
    let ca = authority();
    let two = ["spiffe://example.org/a", "spiffe://example.org/b"];
    let issued = ca.issue(&request(&two, &[])).unwrap();
    let trust = store([("example.org", bundle(&ca, None))]);
    assert_eq!(reason(&trust, &issued), Reason::BadCertificate);
}

#[test]
fn an_authority_cannot_stand_for_a_peer() {
    let domain = "example.org".parse().unwrap();
    let validity = Validity::offset(-HOUR, HOUR).unwrap();
    let ca = Authority::create("test CA", Some(domain), validity).unwrap();
    let trust = store([("example.org", bundle(&ca, None))]);
    let refusal = trust
        .judge(&[der(ca.certificate_pem())], Role::Client, UnixTime::now())
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::BadCertificate, "{refusal}");
}

#[test]
fn a_leaf_without_a_spiffe_id_may_be_vouched_for_by_any_bundle() {
    let (first, second) = (authority(), authority());
    let issued = second.issue(&request(&[], &["a.example.org"])).unwrap();
    let trust = store([
        ("example.org", bundle(&first, None)),
        ("other.example", bundle(&second, None)),
    ]);
    let peer = trust
        .judge(&chain(&issued), Role::Client, UnixTime::now())
        .unwrap();
    assert_eq!(peer.to_string(), "dns:a.example.org");
}

#[test]
fn a_revocation_in_one_bundle_holds_although_another_vouches() {
    let ca = authority();
    let issued = ca.issue(&request(&[], &["a.example.org"])).unwrap();
    let list = ca
        .revocation_list(
            [&issued.revocation()],
            Validity::offset(-HOUR, HOUR).unwrap(),
        )
        .unwrap();
    for names in [["a.example", "b.example"], ["b.example", "a.example"]] {
        let [with, without] = names;
        let trust = store([
            (with, bundle(&ca, Some(list.clone()))),
            (without, bundle(&ca, None)),
        ]);
        assert_eq!(reason(&trust, &issued), Reason::CertificateRevoked);
    }
}

#[test]
fn a_list_of_another_issuer_says_nothing_and_that_refuses() {
    let (ca, other) = (authority(), authority());
    // Another name than the issuer's: authorities of one name share their lists' name.
    let validity = Validity::offset(-HOUR, HOUR).unwrap();
    let stranger = Authority::create("another CA", None, validity).unwrap();
    let issued = ca
        .issue(&request(&["spiffe://example.org/a"], &[]))
        .unwrap();
    let list = stranger.revocation_list([], validity).unwrap();
    let trust = store([("example.org", bundle(&ca, Some(list)))]);
    assert_eq!(reason(&trust, &issued), Reason::RevocationUnknown);
    // A list in the issuer's name, signed by somebody else.
    let forged = other.revocation_list([], validity).unwrap();
    let trust = store([("example.org", bundle(&ca, Some(forged)))]);
    trust
        .judge(&chain(&issued), Role::Client, UnixTime::now())
        .unwrap_err();
}

#[test]
fn nobody_at_all_is_no_certificate() {
    let refusal = store([])
        .judge(&[], Role::Client, UnixTime::now())
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::NoCertificate);
}

#[test]
fn the_refusal_names_who_came_and_who_was_expected() {
    let ca = authority();
    let issued = ca
        .issue(&request(&["spiffe://example.org/a"], &[]))
        .unwrap();
    let trust = store([("example.org", bundle(&ca, None))]);
    let peer = trust
        .judge(&chain(&issued), Role::Server, UnixTime::now())
        .unwrap();
    let expected =
        ["spiffe://example.org/b", "*.example.org", "ip-san"].map(|entry| entry.parse().unwrap());
    let address = "10.0.0.2".parse().unwrap();
    let refusal = admit(&peer, &expected, address, Reason::WrongIdentity).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "wrong-identity: spiffe://example.org/a came, expected is spiffe://example.org/b or \
         *.example.org or ip-san 10.0.0.2"
    );
    let met = "10.0.0.1".parse().unwrap();
    admit(&peer, &expected, met, Reason::WrongIdentity).unwrap();
}
