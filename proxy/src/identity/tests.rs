use proptest::prelude::*;

use super::*;

fn peer(spiffe: Option<&str>, dns: &[&str], ips: &[&str]) -> PeerIdentity {
    PeerIdentity {
        spiffe: spiffe.map(|id| id.parse().unwrap()),
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        common_name: None,
        not_after: SystemTime::UNIX_EPOCH,
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn a_spiffe_id_has_one_spelling() {
    for good in [
        "spiffe://example.org",
        "spiffe://example.org/ns/a_b/sa/c-d.1",
    ] {
        assert_eq!(good.parse::<SpiffeId>().unwrap().as_str(), good);
    }
    for bad in [
        "",
        "spiffe://",
        "http://example.org/a",
        "spiffe://Example.org/a",
        "spiffe://example.org/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/",
        "spiffe://example.org/./a",
        "spiffe://example.org/../a",
        "spiffe://example.org/%61",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
        "spiffe://example.org:80/a",
        "spiffe://u@example.org/a",
        "SPIFFE://example.org/a",
        "spiffe://example.org/é",
    ] {
        assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
    }
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let wild: Expected = "*.example.org".parse().unwrap();
    assert!(wild.matches(&peer(None, &["a.example.org"], &[]), HERE));
    assert!(!wild.matches(&peer(None, &["a.b.example.org"], &[]), HERE));
    assert!(!wild.matches(&peer(None, &["example.org"], &[]), HERE));
    let exact: Expected = "a.example.org".parse().unwrap();
    assert!(exact.matches(&peer(None, &["*.example.org"], &[]), HERE));
    assert!(!exact.matches(&peer(None, &["*.org"], &[]), HERE));
}

#[test]
fn ip_san_means_the_address_that_was_met() {
    let expected: Expected = "ip-san".parse().unwrap();
    assert!(expected.matches(&peer(None, &[], &["10.0.0.1"]), HERE));
    assert!(expected.matches(
        &peer(None, &[], &["10.0.0.1"]),
        "::ffff:10.0.0.1".parse().unwrap()
    ));
    assert!(!expected.matches(&peer(None, &[], &["10.0.0.2"]), HERE));
}

#[test]
fn an_address_is_not_a_dns_name() {
    assert!("10.0.0.1".parse::<Expected>().is_err());
    assert!("-a.example".parse::<Expected>().is_err());
}

proptest! {
    #[test]
    fn what_parses_prints_as_it_was(text in "\\PC{0,60}") {
        if let Ok(id) = text.parse::<SpiffeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
