use proptest::prelude::*;

use super::*;

fn hop(client: &str, trusted: bool) -> Hop<'static> {
    Hop {
        client: client.parse().unwrap(),
        tls: true,
        own: None,
        certificate: None,
        trusted,
    }
}

/// The headers after `announce`, each line by itself.
fn announced(sent: &[(&str, &str)], hop: &Hop<'_>) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let host = HeaderValue::from_static("www.example.org:8443");
    announce(&mut headers, hop, Some(&host));
    let mut lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    lines.sort();
    lines
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = expected
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    owned.collect()
}

#[test]
fn what_is_known_of_a_client_is_told_and_what_it_says_is_not() {
    let sent = [
        ("X-Forwarded-For", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Port", "80"),
        ("X_Forwarded_Host", "evil"),
        ("x.forwarded.host", "evil"),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Forwarded-Client-Cert", "URI=spiffe://example.org/admin"),
        ("x-real_ip", "10.0.0.1"),
        ("x-other", "1"),
    ];
    let expected = pairs(&[
        (
            "forwarded",
            "for=192.0.2.7;host=\"www.example.org:8443\";proto=https",
        ),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-host", "www.example.org:8443"),
        ("x-forwarded-proto", "https"),
        ("x-other", "1"),
        ("x-real-ip", "192.0.2.7"),
    ]);
    assert_eq!(announced(&sent, &hop("192.0.2.7", false)), expected);
    let mapped = announced(&[("x-other", "1")], &hop("::ffff:192.0.2.7", false));
    assert_eq!(
        mapped, expected,
        "an IPv4 client of a listener for both families"
    );
}

#[test]
fn an_ipv6_client_stands_in_brackets_and_quotes_in_forwarded_alone() {
    let told = announced(&[], &hop("2001:db8::1", false));
    assert_eq!(
        told[0].1,
        "for=\"[2001:db8::1]\";host=\"www.example.org:8443\";proto=https"
    );
    assert_eq!(told[1].1, "2001:db8::1");
}

#[test]
fn a_trusted_client_is_added_to_in_one_line_and_not_contradicted() {
    let sent = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-for", "10.0.0.5, 10.0.0.6"),
        ("x-forwarded-for", ""),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outside.example"),
        ("x-forwarded-client-cert", "Hash=00"),
        ("x_forwarded_for", "203.0.113.1"),
    ];
    let expected = pairs(&[
        ("x-forwarded-client-cert", "Hash=00"),
        ("x-forwarded-for", "192.0.2.7, 10.0.0.5, 10.0.0.6, 10.0.0.9"),
        ("x-forwarded-host", "outside.example"),
        ("x-forwarded-proto", "http"),
    ]);
    assert_eq!(announced(&sent, &hop("10.0.0.9", true)), expected);
    let told = announced(&[("forwarded", "for=192.0.2.7")], &hop("10.0.0.9", true));
    let elements = "for=192.0.2.7, for=10.0.0.9;host=\"www.example.org:8443\";proto=https";
    assert_eq!(told[0].1, elements);
    assert!(
        told.iter().all(|(name, _)| name != "x-forwarded-for"),
        "{told:?}"
    );
    let first = announced(&[], &hop("10.0.0.9", true));
    assert_eq!(
        first,
        announced(&[], &hop("10.0.0.9", false)),
        "it says nothing itself"
    );
}

#[test]
fn a_host_cannot_end_its_place_in_forwarded() {
    for (host, expected) in [
        ("www.example.org", "www.example.org"),
        ("a\";for=10.0.0.1", "\"a\\\";for=10.0.0.1\""),
        ("a\\", "\"a\\\\\""),
        ("a,for=10.0.0.1", "\"a,for=10.0.0.1\""),
        ("", "\"\""),
    ] {
        assert_eq!(token_or_quoted(host), expected);
    }
}

/// One of the names, as somebody writes it who wants it to pass: in any case, and with what applications
/// take for a hyphen.
fn spelled() -> impl Strategy<Value = String> {
    let base = prop_oneof![
        Just("x-forwarded-for".to_owned()),
        Just("x-forwarded-proto".to_owned()),
        Just("x-forwarded-host".to_owned()),
        Just("x-forwarded-client-cert".to_owned()),
        Just("x-forwarded".to_owned()),
        Just("x-real-ip".to_owned()),
        Just("forwarded".to_owned()),
        "x-forwarded-[a-z]{1,8}",
    ];
    let marks = prop::collection::vec(any::<(bool, prop::sample::Index)>(), 30);
    (base, marks).prop_map(|(base, marks)| {
        let spelled = base.chars().zip(marks).map(|(c, (upper, mark))| match c {
            '-' => ["-", "_", ".", "-"][mark.index(4)].to_owned(),
            c if upper => c.to_ascii_uppercase().to_string(),
            c => c.to_string(),
        });
        spelled.collect()
    })
}

proptest! {
    #[test]
    fn nothing_that_an_untrusted_client_forwards_remains(
        sent in prop::collection::vec(spelled(), 0..12),
        others in prop::collection::vec("y-[a-z_-]{1,8}", 0..4),
    ) {
        let claims = sent.iter().map(|name| (name.as_str(), "evil"));
        let kept = others.iter().map(|name| (name.as_str(), "kept"));
        let all: Vec<_> = claims.chain(kept).collect();
        let told = announced(&all, &hop("192.0.2.7", false));
        prop_assert!(told.iter().all(|(_, value)| !value.contains("evil")), "{told:?}");
        let kept = told.iter().filter(|(_, value)| value == "kept").count();
        prop_assert_eq!(kept, others.len());
        prop_assert_eq!(told.len(), kept + 5);
    }

    #[test]
    fn of_a_trusted_client_only_the_names_as_they_are_remain(
        sent in prop::collection::vec(spelled(), 0..12),
    ) {
        let all: Vec<_> = sent.iter().map(|name| (name.as_str(), "told")).collect();
        for (name, value) in announced(&all, &hop("192.0.2.7", true)) {
            prop_assert!(!value.contains("told") || !name.contains(['_', '.']), "{name}: {value}");
        }
    }
}
